//! What the machine's memory is used for.

use std::fs;

use anyhow::Context as _;

/// Bytes of the whole machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) available: u64,
    /// Objects of the kernel, such as sockets and files.
    pub(crate) slab: u64,
}

impl Memory {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
        let field = |name: &str| kib(&text, name).with_context(|| format!("find {name}"));
        Ok(Self {
            available: field("MemAvailable:")?,
            slab: field("Slab:")?,
        })
    }
}

/// Resident bytes of a process; 0 if it has ended.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib(&status, "VmRSS:").unwrap_or(0)
}

/// Resident bytes of the processes that `parent` started, and how many they are.
pub(crate) fn resident_of_children(parent: u32) -> (u64, usize) {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let mut pids: Vec<u32> = words(&children.unwrap_or_default());
    if let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) {
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children"));
            pids.extend(words(&children.unwrap_or_default()));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    (pids.iter().copied().map(resident).sum(), pids.len())
}

fn words(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}
