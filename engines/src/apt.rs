//! Debian's packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{find, run};

/// Installs `packages` for the whole machine, if this user may.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install -y {}", packages.join(" "));
    if !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        bail!("install what is missing and try again, on Debian or Ubuntu: sudo {by_hand}");
    }
    let install = || {
        let mut command = apt_get();
        command.args(["install", "-y", "--no-install-recommends"]);
        run(command.args(packages))
    };
    with_fresh_lists(install).with_context(|| format!("do what was tried: {by_hand}"))?;
    Ok(())
}

/// Unpacks `packages`, with all they need that this machine lacks, below
/// `root`: nothing is installed, no service is started.
pub(crate) fn unpack(packages: &[&str], root: &Path) -> Result<()> {
    let by_hand = format!("sudo apt-get install -y {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!(
            "this is not Debian or Ubuntu; install by hand: {}",
            packages.join(" ")
        );
    }
    let unpack = || {
        let mut simulation = apt_get();
        simulation.args(["install", "--simulate", "--no-install-recommends"]);
        let planned = run(simulation.args(packages))?;
        let lacking = planned.lines().filter_map(|line| {
            let mut words = line.split(' ');
            (words.next() == Some("Inst")).then(|| words.next())?
        });
        let mut wanted: Vec<&str> = packages.iter().copied().chain(lacking).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let downloads = root.join("downloads");
        fs::create_dir_all(&downloads).context("create directory for packages")?;
        run(apt_get()
            .current_dir(&downloads)
            .arg("download")
            .args(wanted))?;
        for package in fs::read_dir(&downloads)? {
            run(Command::new("dpkg")
                .arg("-x")
                .arg(package?.path())
                .arg(root))?;
        }
        fs::remove_dir_all(&downloads).context("remove downloaded packages")?;
        Ok(())
    };
    with_fresh_lists(unpack).with_context(|| format!("cannot be fetched; try: {by_hand}"))
}

/// A new machine has no lists of packages, or old ones.
fn with_fresh_lists<T>(action: impl Fn() -> Result<T>) -> Result<T> {
    let result = action();
    if result.is_ok() || !rustix::process::geteuid().is_root() {
        return result;
    }
    run(apt_get().arg("update"))?;
    action()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
