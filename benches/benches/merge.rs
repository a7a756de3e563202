//! What job spends on putting a room's messages together.

#![allow(missing_docs, reason = "the macros of a benchmark make public items")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use halley_job::{Config, MergeForBenches};
use halley_proto::goim::logic::PushMsg;

const BODY: [u8; 90] = [b'm'; 90];
const MESSAGES: usize = 1_024;

/// Messages for so many rooms in turn.
fn messages(rooms: usize) -> Vec<Arc<PushMsg>> {
    let message = |number| PushMsg {
        operation: 1000,
        room: format!("live://{}", number % rooms),
        msg: BODY.to_vec().into(),
        ..PushMsg::default()
    };
    (0..MESSAGES).map(message).map(Arc::new).collect()
}

fn merge(criterion: &mut Criterion) {
    let merge = MergeForBenches::new(&Config::default());
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for rooms in [1, 32, MESSAGES] {
        let messages = messages(rooms);
        group.bench_function(BenchmarkId::new("rooms", rooms), |bencher| {
            bencher.iter(|| merge.deliver(black_box(&messages)));
        });
    }
}

criterion_group!(benches, merge);
criterion_main!(benches);
