//! What the machine knows of the server's processes: which they are, their memory, their CPU time.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

/// The kernel reports CPU time to programs in hundredths of a second on every architecture that Linux runs servers on.
const TICKS_PER_SECOND: u64 = 100;
/// `/proc/net/tcp`: the state of a listening socket.
const LISTENING: &str = "0A";

/// The processes of the server under test; none when it is elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pids: Vec<u32>,
}

/// A reading of every process, as exact as it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) processes: Vec<Process>,
}

/// One process of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Of its executable, as the kernel cuts it.
    pub(crate) name: String,
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_ms: u64,
}

/// What all processes together use, as far as it can be seen without costing them anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    /// Since they started.
    pub(crate) cpu_ms: u64,
    /// Open descriptors.
    pub(crate) files: u64,
}

impl Reading {
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.processes.iter().map(|process| process.rss_bytes).sum()
    }

    pub(crate) fn cpu_ms(&self) -> u64 {
        self.processes.iter().map(|process| process.cpu_ms).sum()
    }
}

impl Server {
    /// The given processes, or those that listen on the addresses if these are of this machine.
    pub(crate) fn find(given: &[u32], addresses: &[SocketAddr]) -> Self {
        let pids = if given.is_empty() {
            let ports = addresses
                .iter()
                .filter(|address| address.ip().is_loopback())
                .map(SocketAddr::port)
                .collect();
            listeners(&ports)
        } else {
            given.to_vec()
        };
        Self { pids }
    }

    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// `None` when there is no process or one of them cannot be read. To count memory exactly the kernel walks
    /// through all of it and holds up the process meanwhile.
    pub(crate) fn read(&self) -> Option<Reading> {
        if self.pids.is_empty() {
            return None;
        }
        let processes: Option<Vec<Process>> = self
            .pids
            .iter()
            .map(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                Some(Process {
                    pid: *pid,
                    name: name.trim().to_owned(),
                    rss_bytes: rss_bytes(*pid)?,
                    cpu_ms: stat(*pid)?.cpu_ms,
                })
            })
            .collect();
        Some(Reading {
            processes: processes?,
        })
    }

    /// `None` when there is no process or one of them cannot be read.
    pub(crate) fn glance(&self) -> Option<Usage> {
        if self.pids.is_empty() {
            return None;
        }
        let mut sum = Usage::default();
        for pid in &self.pids {
            let usage = stat(*pid)?;
            sum.rss_bytes += usage.rss_bytes;
            sum.cpu_ms += usage.cpu_ms;
            sum.files += open_files(*pid)?;
        }
        Some(sum)
    }
}

fn listeners(ports: &BTreeSet<u16>) -> Vec<u32> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if let Ok(table) = fs::read_to_string(table) {
            inodes.extend(
                table
                    .lines()
                    .skip(1)
                    .filter_map(|line| listening_inode(line, ports)),
            );
        }
    }
    if inodes.is_empty() {
        return Vec::new();
    }
    let pids = names("/proc")
        .into_iter()
        .filter_map(|name| name.parse().ok());
    pids.filter(|pid: &u32| {
        let folder = format!("/proc/{pid}/fd");
        names(&folder).iter().any(|descriptor| {
            fs::read_link(format!("{folder}/{descriptor}"))
                .ok()
                .and_then(|target| {
                    let target = target.to_str()?.strip_prefix("socket:[")?;
                    Some(inodes.contains(target.strip_suffix(']')?))
                })
                .unwrap_or(false)
        })
    })
    .collect()
}

/// The inode of a line of `/proc/net/tcp` if it is a listener on one of the ports.
fn listening_inode(line: &str, ports: &BTreeSet<u16>) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (*fields.get(3)? == LISTENING && ports.contains(&port))
        .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

fn names(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// `smaps_rollup` is exact where `status` lags by what threads have not yet handed in; it needs the same user.
fn rss_bytes(pid: u32) -> Option<u64> {
    let of = |file: &str, field: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        kilobytes(&text, field)
    };
    Some(of("smaps_rollup", "Rss:").or_else(|| of("status", "VmRSS:"))? * 1024)
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// CPU time and memory; no descriptors.
fn stat(pid: u32) -> Option<Usage> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A `/proc/PID/stat` line. The name in it may hold anything, so count from its end.
fn parse_stat(stat: &str) -> Option<Usage> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let (user, system, pages) = (number(11)?, number(12)?, number(21)?);
    Some(Usage {
        rss_bytes: pages * rustix::param::page_size() as u64,
        cpu_ms: (user + system) * 1000 / TICKS_PER_SECOND,
        files: 0,
    })
}

/// Since Linux 6.2 the size of the folder says how many there are; before, they have to be counted.
fn open_files(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    match fs::metadata(&folder).ok()?.len() {
        0 => Some(fs::read_dir(&folder).ok()?.count() as u64),
        files => Some(files),
    }
}

/// What a process grew by, spread over the connections that made it grow; negative when it shrank.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory and connections are far below 2^52"
)]
pub(crate) fn bytes_per_connection(
    before: &Reading,
    after: &Reading,
    connections: u64,
) -> Option<f64> {
    (connections > 0)
        .then(|| (after.rss_bytes() as f64 - before.rss_bytes() as f64) / connections as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_process_that_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::find(&[], &[address]);
        assert_eq!(server.pids(), [std::process::id()]);
        let reading = server.read().unwrap();
        assert!(reading.rss_bytes() > 100_000, "{reading:?}");
        let usage = server.glance().unwrap();
        assert!(usage.rss_bytes > 100_000, "{usage:?}");
        assert!((3..10_000).contains(&usage.files), "{usage:?}");
        assert!(
            Server::find(&[], &["192.0.2.1:80".parse().unwrap()])
                .read()
                .is_none()
        );
        assert_eq!(Server::find(&[7], &[address]).pids(), [7]);
    }

    #[test]
    fn reads_the_kernels_tables() {
        let line = "   0: 0100007F:0C1D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 98765 1";
        assert_eq!(
            listening_inode(line, &BTreeSet::from([3101])),
            Some("98765".to_owned())
        );
        assert_eq!(listening_inode(line, &BTreeSet::from([3102])), None);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4 1 0 0 0 25 17 0 0 20 0 3 0 99 4096 5 1";
        let usage = parse_stat(stat).unwrap();
        assert_eq!(usage.cpu_ms, 420);
        assert_eq!(usage.rss_bytes, 5 * rustix::param::page_size() as u64);
        assert_eq!(
            kilobytes("Name: x\nVmRSS:\t  123 kB\n", "VmRSS:"),
            Some(123)
        );
    }
}
