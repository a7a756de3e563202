//! The kernel's memory: what sockets cost beside the memory of the processes that hold them.

use std::collections::BTreeMap;
use std::fs;

/// The kernel's memory at a moment, of the whole machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// All its objects, bytes.
    pub(crate) slab_bytes: u64,
    /// What waits in the buffers of TCP sockets, bytes.
    pub(crate) buffer_bytes: u64,
    /// The objects by kind; empty when they may not be read, which only root may.
    pub(crate) caches: BTreeMap<String, u64>,
}

impl Kernel {
    /// `None` where there is no such kernel.
    pub(crate) fn read() -> Option<Self> {
        let page_bytes = rustix::param::page_size() as u64;
        let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
        let sockstat = fs::read_to_string("/proc/net/sockstat").ok()?;
        let slabinfo = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        Some(Self {
            slab_bytes: slab_bytes(&meminfo)?,
            buffer_bytes: buffer_pages(&sockstat)? * page_bytes,
            caches: caches(&slabinfo, page_bytes),
        })
    }
}

fn slab_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("Slab:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn buffer_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

/// The bytes of each cache: its slabs, whether their places are taken or not.
fn caches(slabinfo: &str, page_bytes: u64) -> BTreeMap<String, u64> {
    let cache = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pages_per_slab: u64 = words.get(5)?.parse().ok()?;
        let data = words.iter().position(|word| *word == "slabdata")?;
        let slabs: u64 = words.get(data + 2)?.parse().ok()?;
        Some((
            (*words.first()?).to_owned(),
            slabs * pages_per_slab * page_bytes,
        ))
    };
    slabinfo.lines().filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let slabinfo = "slabinfo - version: 2.1\n\
            # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n\
            TCP                 120    130   2432   13    8 : tunables    0    0    0 : slabdata     10     10      0\n";
        let expected = BTreeMap::from([("TCP".to_owned(), 10 * 8 * 4096)]);
        assert_eq!(caches(slabinfo, 4096), expected);
        let sockstat =
            "sockets: used 18\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 97\nUDP: inuse 0 mem 0\n";
        assert_eq!(buffer_pages(sockstat), Some(97));
        assert_eq!(
            slab_bytes("MemTotal: 5 kB\nSlab:      12 kB\n"),
            Some(12 * 1024)
        );
        assert!(Kernel::read().unwrap().slab_bytes > 100_000);
    }
}
