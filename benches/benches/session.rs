//! What comet's session makes of a logged-in client's packets.

#![allow(missing_docs, reason = "the macros of a benchmark make public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use halley_comet::session::{Grant, SessionLimits, on_packet, reply_header};
use halley_proto::halley::node;
use halley_wire::{Header, Op, PacketRef};

const LIMITS: SessionLimits = SessionLimits {
    room_name_bytes_max: 512,
};

const PACKETS: [(&str, Op, &[u8]); 5] = [
    ("heartbeat", Op::HEARTBEAT, b""),
    ("change of room", Op::CHANGE_ROOM, b"live://1000"),
    ("subscription", Op::SUB, b"1000,1001,1002"),
    ("end of a subscription", Op::UNSUB, b"1000,1001,1002"),
    ("message", Op(1000), b"a message for logic"),
];

/// Sixteen rooms and operations, of which the last ones are meant.
fn grant() -> Grant {
    let others = (0..15).map(|number| format!("other://{number}"));
    Grant::from_proto(&node::Grant {
        expires_ms: i64::MAX,
        restrict_rooms: true,
        rooms: others.chain(["live://*".to_owned()]).collect(),
        restrict_ops: true,
        ops: (987..=1002).collect(),
    })
}

fn session(criterion: &mut Criterion) {
    let grant = grant();
    for (name, grant) in [("session", None), ("session with a grant", Some(&grant))] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for (name, op, body) in PACKETS {
            let header = Header { ver: 1, op, seq: 7 };
            let packet = PacketRef { header, body };
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    black_box(on_packet(black_box(&packet), black_box(grant), LIMITS));
                    reply_header(black_box(header))
                });
            });
        }
    }
}

criterion_group!(benches, session);
criterion_main!(benches);
