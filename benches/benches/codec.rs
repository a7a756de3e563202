//! What it costs to read and write packets, batches and WebSocket frames.
//!
//! Encoders append to a buffer that is kept, as connections and rooms do.
//! Small is a push of 90 bytes; 4 KiB is the longest body that a client may send.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops by panicking"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use halley_wire::ws::{self, Opcode};
use halley_wire::{AuthBody, BODY_BYTES_MAX_DEFAULT, HEADER_BYTES, Header, Op, packet, raw, sub};

const SIZES: [(&str, usize); 2] = [("small", 90), ("4KiB", BODY_BYTES_MAX_DEFAULT)];
const BATCH: usize = 20;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const PUSH: Header = Header {
    ver: 1,
    op: Op(1000),
    seq: 0,
};

fn body(bytes: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(bytes).collect()
}

fn encoded(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    packet::encode(&mut out, PUSH, &body(bytes));
    out
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    for (name, bytes) in SIZES {
        let (body, packet) = (body(bytes), encoded(bytes));
        group.throughput(Throughput::Bytes(packet.len() as u64));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| packet::decode(black_box(&packet), BODY_BYTES_MAX_DEFAULT).unwrap());
        });
        let mut out = Vec::with_capacity(packet.len());
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| {
                out.clear();
                packet::encode(black_box(&mut out), PUSH, black_box(&body));
            });
        });
    }
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    let body = body(SIZES[0].1);
    let mut batch = Vec::new();
    for _ in 0..BATCH {
        raw::push(&mut batch, PUSH.op, &body);
    }
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut out = Vec::with_capacity(batch.len());
    group.bench_function(BenchmarkId::new("push", BATCH), |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..BATCH {
                raw::push(black_box(&mut out), PUSH.op, black_box(&body));
            }
        });
    });
    group.bench_function(BenchmarkId::new("count", BATCH), |bencher| {
        bencher.iter(|| raw::count(black_box(&batch)).unwrap());
    });
    group.bench_function(BenchmarkId::new("iter", BATCH), |bencher| {
        bencher.iter(|| {
            raw::iter(black_box(&batch))
                .map(|packet| packet.unwrap().body.len())
                .sum::<usize>()
        });
    });
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket");
    for (name, bytes) in SIZES {
        let message = encoded(bytes);
        group.throughput(Throughput::Bytes(message.len() as u64));
        let mut frame = Vec::new();
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| {
                frame.clear();
                ws::encode_header(black_box(&mut frame), Opcode::Binary, message.len());
                frame.extend_from_slice(black_box(&message));
            });
        });
        bench_decode(
            &mut group,
            BenchmarkId::new("decode_unmasked", name),
            &mut frame,
        );
        let mut frame = Vec::new();
        group.bench_function(BenchmarkId::new("encode_masked", name), |bencher| {
            bencher.iter(|| {
                frame.clear();
                ws::encode_masked(
                    black_box(&mut frame),
                    Opcode::Binary,
                    black_box(&message),
                    MASK,
                );
            });
        });
        bench_decode(&mut group, BenchmarkId::new("decode", name), &mut frame);
        let mut payload = message.clone();
        group.bench_function(BenchmarkId::new("apply_mask", name), |bencher| {
            bencher.iter(|| ws::apply_mask(black_box(&mut payload), MASK));
        });
    }
}

/// Decoding unmasks in place, so every second round reads noise of the same length:
/// the work is the same.
fn bench_decode(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    id: BenchmarkId,
    frame: &mut [u8],
) {
    let limits = ws::Limits::default();
    let mut decoder = ws::Decoder::default();
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let (consumed, event) = decoder.next(black_box(frame), &limits).unwrap().unwrap();
            assert!(
                matches!(event, ws::Event::Data { payload, .. } if payload.len() > HEADER_BYTES)
            );
            consumed
        });
    });
}

fn bodies(criterion: &mut Criterion) {
    let auth = AuthBody {
        mid: 123,
        key: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        room_id: "live://1000".to_owned(),
        platform: "web".to_owned(),
        accepts: vec![1000, 1001, 1002],
        token: None,
    };
    let json = auth.to_json();
    criterion.bench_function("auth/parse", |bencher| {
        bencher.iter(|| AuthBody::parse(black_box(json.as_bytes())).unwrap());
    });
    criterion.bench_function("sub/parse", |bencher| {
        bencher.iter(|| sub::parse(black_box(b"1000,1001,1002")).unwrap());
    });
}

criterion_group!(benches, packets, batches, frames, bodies);
criterion_main!(benches);
