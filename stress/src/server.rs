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

/// A reading of all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_ms: u64,
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

    /// `None` when there is no process or one of them cannot be read.
    pub(crate) fn read(&self) -> Option<Reading> {
        if self.pids.is_empty() {
            return None;
        }
        let mut sum = Reading::default();
        for pid in &self.pids {
            sum.rss_bytes += rss_bytes(*pid)?;
            sum.cpu_ms += cpu_ms(*pid)?;
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

fn cpu_ms(pid: u32) -> Option<u64> {
    ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        .map(|ticks| ticks * 1000 / TICKS_PER_SECOND)
}

/// User and system time of a `/proc/PID/stat` line. The name before them may hold anything, so count from its end.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// What a process grew by, spread over the connections that made it grow; negative when it shrank.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory and connections are far below 2^52"
)]
pub(crate) fn bytes_per_connection(
    before: Reading,
    after: Reading,
    connections: u64,
) -> Option<f64> {
    (connections > 0)
        .then(|| (after.rss_bytes as f64 - before.rss_bytes as f64) / connections as f64)
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
        assert!(reading.rss_bytes > 100_000, "{reading:?}");
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
        assert_eq!(
            ticks("7 (a ) b) S 1 7 7 0 -1 4 1 0 0 0 25 17 0 0 20 0"),
            Some(42)
        );
        assert_eq!(
            kilobytes("Name: x\nVmRSS:\t  123 kB\n", "VmRSS:"),
            Some(123)
        );
    }
}
