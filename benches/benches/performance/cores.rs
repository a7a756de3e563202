//! Which core a process runs on.

use std::fs;

use anyhow::{Context as _, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One core for who sends, another for who receives and for this process.
#[derive(Debug)]
pub(crate) struct Cores {
    before: CpuSet,
    sender: CpuSet,
    receiver: CpuSet,
}

impl Cores {
    /// Takes the first two cores, until the value is dropped.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let before = sched_getaffinity(None).context("ask for the cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core));
        let mut next = || {
            let mut one = CpuSet::new();
            one.set(cores.next()?);
            Some(one)
        };
        let (sender, receiver) = (next(), next());
        let taken = Self {
            before,
            sender: sender.context("no core")?,
            receiver: receiver.context("a sender and a receiver take two cores")?,
        };
        sched_setaffinity(None, &taken.receiver).context("go to a core")?;
        Ok(taken)
    }

    /// Has all threads of a process run where senders do.
    pub(crate) fn give_sender(&self, pid: u32) -> anyhow::Result<()> {
        give(pid, &self.sender)
    }

    /// Has all threads of a process run where receivers do.
    pub(crate) fn give_receiver(&self, pid: u32) -> anyhow::Result<()> {
        give(pid, &self.receiver)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        // It was so before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

fn give(pid: u32, core: &CpuSet) -> anyhow::Result<()> {
    let mut count = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.file_name();
        let thread = thread.to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(thread), core).context("give a thread a core")?;
        count += 1;
    }
    ensure!(count > 0, "the process has no threads");
    Ok(())
}
