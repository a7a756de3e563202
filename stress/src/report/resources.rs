//! What the run cost: the server, the tool itself, and the kernel.

use serde::Serialize;

use super::{Findings, Readings, as_f64};
use crate::kernel::Kernel;
use crate::server::{Reading, bytes_per_connection};

/// A cache of the kernel is named when it grew by so much per connection, bytes.
const CACHE_BYTES_MIN: f64 = 16.0;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ServerUse {
    pub(crate) pids: Vec<u32>,
    pub(crate) rss_before_bytes: Option<u64>,
    pub(crate) rss_connected_bytes: Option<u64>,
    pub(crate) rss_end_bytes: Option<u64>,
    pub(crate) bytes_per_connection: Option<f64>,
    pub(crate) bytes_per_connection_end: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) cpu_seconds_per_million: Option<f64>,
    pub(crate) processes: Vec<ProcessUse>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessUse {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) rss_end_bytes: u64,
    pub(crate) cpu_seconds: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ToolUse {
    pub(crate) workers: u64,
    pub(crate) receive_cpu_ns_per_delivery: Option<f64>,
    pub(crate) deliveries_per_read: Option<f64>,
    pub(crate) push_cpu_us_per_push: Option<f64>,
}

/// The memory of a connection, in the process and in the kernel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) connections: u64,
    /// Ends of each connection that are on this machine: 2 when the server is here, else the tool's alone.
    pub(crate) ends: u64,
    /// Growth of the server's processes; `null` when they are elsewhere.
    pub(crate) process_bytes: Option<f64>,
    /// Growth of the kernel's objects and of what waits in sockets, for all ends that are here.
    pub(crate) kernel_bytes: f64,
    /// The same for one end. Both ends are alike, so where both are here it is the half.
    pub(crate) kernel_bytes_per_end: f64,
    /// The part of `kernel_bytes` that waits in sockets.
    pub(crate) buffer_bytes: f64,
    /// The process and one end.
    pub(crate) bytes: Option<f64>,
    /// The kinds of objects that grew most, for all ends; empty when they may not be read.
    pub(crate) caches: Vec<Cache>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cache {
    pub(crate) name: String,
    pub(crate) bytes: f64,
}

impl ServerUse {
    pub(super) fn new(findings: &Findings, received: u64) -> Self {
        let Readings {
            before,
            connected,
            end,
        } = &findings.readings;
        let per_connection = |later: &Option<Reading>| {
            let (before, later) = (before.as_ref()?, later.as_ref()?);
            bytes_per_connection(before, later, findings.opened.ready)
        };
        let rss = |reading: &Option<Reading>| reading.as_ref().map(Reading::rss_bytes);
        let cpu_seconds = cpu_ms(connected.as_ref(), end.as_ref()).map(|ms| as_f64(ms) / 1e3);
        Self {
            pids: findings.server.pids().to_vec(),
            rss_before_bytes: rss(before),
            rss_connected_bytes: rss(connected),
            rss_end_bytes: rss(end),
            bytes_per_connection: per_connection(connected),
            bytes_per_connection_end: per_connection(end),
            cpu_seconds,
            cpu_seconds_per_million: cpu_seconds
                .filter(|_| received > 0)
                .map(|seconds| seconds * 1e6 / as_f64(received)),
            processes: processes(connected.as_ref(), end.as_ref()),
        }
    }
}

/// CPU time between two readings, milliseconds.
pub(crate) fn cpu_ms(from: Option<&Reading>, to: Option<&Reading>) -> Option<u64> {
    Some(to?.cpu_ms().saturating_sub(from?.cpu_ms()))
}

fn processes(connected: Option<&Reading>, end: Option<&Reading>) -> Vec<ProcessUse> {
    let (Some(connected), Some(end)) = (connected, end) else {
        return Vec::new();
    };
    let both = connected.processes.iter().zip(&end.processes);
    both.map(|(from, to)| ProcessUse {
        pid: to.pid,
        name: to.name.clone(),
        rss_end_bytes: to.rss_bytes,
        cpu_seconds: as_f64(to.cpu_ms.saturating_sub(from.cpu_ms)) / 1e3,
    })
    .collect()
}

impl ToolUse {
    pub(super) fn new(findings: &Findings, received: u64) -> Self {
        let settled = &findings.settled;
        let per = |total: u64, count: u64| (count > 0).then(|| as_f64(total) / as_f64(count));
        Self {
            workers: findings.workers,
            receive_cpu_ns_per_delivery: per(settled.receive_cpu_ns, received),
            deliveries_per_read: per(received, settled.reads).filter(|_| received > 0),
            push_cpu_us_per_push: findings
                .pushing
                .as_ref()
                .and_then(|pushing| per(pushing.cpu_ns, pushing.pushed.sent))
                .map(|ns| ns / 1e3),
        }
    }
}

impl Memory {
    /// `None` without a connection.
    pub(super) fn new(findings: &Findings, before: &Kernel, after: &Kernel) -> Option<Self> {
        let connections = findings.opened.ready;
        let each = |from: u64, to: u64| (as_f64(to) - as_f64(from)) / as_f64(connections);
        if connections == 0 {
            return None;
        }
        let ends = if findings.server.pids().is_empty() {
            1
        } else {
            2
        };
        let buffer_bytes = each(before.buffer_bytes, after.buffer_bytes);
        let kernel_bytes = each(before.slab_bytes, after.slab_bytes) + buffer_bytes;
        let kernel_bytes_per_end = kernel_bytes / as_f64(ends);
        let readings = &findings.readings;
        let process_bytes = readings
            .before
            .as_ref()
            .zip(readings.connected.as_ref())
            .and_then(|(before, after)| bytes_per_connection(before, after, connections));
        let mut caches: Vec<Cache> = after
            .caches
            .iter()
            .map(|(name, bytes)| Cache {
                name: name.clone(),
                bytes: each(before.caches.get(name).copied().unwrap_or(0), *bytes),
            })
            .filter(|cache| cache.bytes >= CACHE_BYTES_MIN)
            .collect();
        caches.sort_by(|one, other| other.bytes.total_cmp(&one.bytes));
        Some(Self {
            connections,
            ends,
            process_bytes,
            kernel_bytes,
            kernel_bytes_per_end,
            buffer_bytes,
            bytes: process_bytes.map(|bytes| bytes + kernel_bytes_per_end),
            caches,
        })
    }
}
