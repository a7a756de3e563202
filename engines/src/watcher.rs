//! Processes end with the one that started them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Ends the process and removes the files when its own standard input ends: the
/// other end of the pipe is closed with the process that holds it.
const WATCH: &str = r#"read -r _; kill -9 "$1"; shift; rm -rf "$@""#;

/// Kills another process when this one is no more, however it ended. Dropped, it
/// does nothing any more: that is due before the other process is waited for,
/// since from then on its id may be somebody else's.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
}

impl Watcher {
    /// Watches over the process `pid`. The `files` are removed after it.
    pub fn start(pid: u32, files: impl IntoIterator<Item: AsRef<OsStr>>) -> io::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", WATCH, "sh", &pid.to_string()])
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal is not for it.
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Neither fails for a child that nobody has waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_end_of_the_pipe_kills_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap().keep();
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let mut watcher = Watcher::start(process.id(), [&dir]).unwrap();

        // As the kernel does when this process ends.
        drop(watcher.child.stdin.take());

        assert_eq!(process.wait().unwrap().signal(), Some(9));
        watcher.child.wait().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn without_its_watcher_a_process_goes_on() {
        let mut left = Command::new("sleep").arg("600").spawn().unwrap();

        drop(Watcher::start(left.id(), [] as [&str; 0]).unwrap());

        assert!(left.try_wait().unwrap().is_none());
        left.kill().unwrap();
        left.wait().unwrap();
    }
}
