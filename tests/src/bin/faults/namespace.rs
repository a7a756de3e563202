//! A network of this program's own.

use std::net::IpAddr;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};

/// Set in the process that has the namespace.
const MARK: &str = "HALLEY_FAULTS_NAMESPACE";

pub(crate) fn is_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs this program again inside a new namespace.
pub(crate) fn run_again() -> anyhow::Result<ExitCode> {
    // Without root, a user namespace gives the right to make one.
    let flags: &[&str] = if rustix::process::getuid().is_root() {
        &["--net"]
    } else {
        &["--net", "--user", "--map-root-user"]
    };
    let status = Command::new("unshare")
        .args(flags)
        .arg("--")
        .args(std::env::args_os())
        .env(MARK, "1")
        .status()
        .context("run unshare (Debian, Ubuntu: util-linux)")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// Makes the loopback interface usable, and its routes ones that can be cut:
/// the kernel looks at local routes before anything else unless told otherwise.
pub(crate) fn raise_loopback() -> anyhow::Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["rule", "add", "pref", "100", "lookup", "local"])?;
    ip(&["rule", "del", "pref", "0"])
}

/// Loses every packet to `address` from now on, without a word to the sender.
pub(crate) fn cut(address: IpAddr, port: u16) -> anyhow::Result<()> {
    change("add", address, port)
}

/// Lets packets through again.
pub(crate) fn mend(address: IpAddr, port: u16) -> anyhow::Result<()> {
    change("del", address, port)
}

fn change(what: &str, address: IpAddr, port: u16) -> anyhow::Result<()> {
    let (address, port) = (format!("{address}/32"), port.to_string());
    let rule = [
        "pref",
        "10",
        "to",
        &address,
        "ipproto",
        "tcp",
        "dport",
        &port,
        "blackhole",
    ];
    ip(&[&["rule", what], rule.as_slice()].concat())
}

/// Runs `ip`, which has to succeed.
fn ip(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("ip")
        .args(args)
        .status()
        .context("run ip (Debian, Ubuntu: iproute2)")?;
    ensure!(status.success(), "ip {} failed: {status}", args.join(" "));
    Ok(())
}
