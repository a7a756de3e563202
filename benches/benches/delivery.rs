//! The parts of delivery: a room's log, and finding connections.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use halley_comet::bucket::{Buckets, Deadlines};
use halley_comet::clock::Tick;
use halley_comet::connection::Connection;
use halley_comet::ring::{Cursor, Limits, Read, Ring};

const FRAME: [u8; 90] = [7; 90];
const LIMITS: Limits = Limits {
    bytes_max: 8 << 20,
    frames_max: 65_536,
};
const CONNECTIONS: u64 = 10_000;

fn append(ring: &mut Ring) {
    ring.append(FRAME.len(), 1, |out| out.extend_from_slice(&FRAME));
}

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    group.bench_function("append and release", |bencher| {
        let mut ring = Ring::new(LIMITS, Cursor::new(0));
        bencher.iter(|| {
            append(&mut ring);
            ring.seal();
            ring.release(ring.head());
        });
    });
    group.bench_function("append, never read", |bencher| {
        let mut ring = Ring::new(LIMITS, Cursor::new(0));
        bencher.iter(|| append(&mut ring));
    });
    group.throughput(Throughput::Elements(32));
    group.bench_function("read 32 frames of one pass", |bencher| {
        let filled = || {
            let mut ring = Ring::new(LIMITS, Cursor::new(0));
            (0..32).for_each(|_| append(&mut ring));
            ring
        };
        bencher.iter_batched_ref(
            filled,
            |ring| match ring.read(Cursor::new(0), usize::MAX) {
                Read::Chunks(chunks) => black_box(chunks.len()),
                Read::Evicted(_) => unreachable!("the ring is roomy"),
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn buckets() -> Buckets {
    let buckets = Buckets::new(32);
    for number in 0..CONNECTIONS {
        let key = format!("6ba7b810-9dad-11d1-80b4-{number:012}").into();
        let deadlines = Deadlines {
            idle_ticks: 4800,
            expires: Tick::NEVER,
            renew: Tick::NEVER,
        };
        let connection = Arc::new(Connection::detached(number, key));
        buckets.register(1, connection, deadlines, Tick(1));
    }
    buckets
}

fn bucket(criterion: &mut Criterion) {
    let buckets = buckets();
    let mut group = criterion.benchmark_group("bucket");
    group.throughput(Throughput::Elements(CONNECTIONS));
    group.bench_function("sweep", |bencher| {
        bencher.iter(|| {
            let mut idle = 0;
            for bucket in 0..buckets.count() {
                buckets.sweep(bucket, Tick(2), |entry| idle += u32::from(entry.is_idle));
            }
            idle
        });
    });
    group.bench_function("walk", |bencher| {
        let mut copies = Vec::with_capacity(1024);
        bencher.iter(|| {
            let mut from = 0;
            while buckets.copy_connections(from, 1024, &mut copies) {
                black_box(&copies);
                from += 1024;
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("find by key", |bencher| {
        bencher.iter(|| buckets.get(black_box("6ba7b810-9dad-11d1-80b4-000000004321")));
    });
    group.finish();
}

criterion_group!(benches, ring, bucket);
criterion_main!(benches);
