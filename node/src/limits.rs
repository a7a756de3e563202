//! What the system allows this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits on open files, which is about what connections cost: one each.
/// `u64::MAX` stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What the process may open.
    pub soft: u64,
    /// What it could raise `soft` to by itself.
    pub hard: u64,
}

/// Raises the number of files that this process may open as far as it may
/// raise it, and says how many that are.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        )?;
    }
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    Ok(OpenFiles {
        soft: current.unwrap_or(u64::MAX),
        hard: maximum.unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::{OpenFiles, raise_open_files};

    #[test]
    fn soft_limit_becomes_the_hard_one() {
        let OpenFiles { soft, hard } = raise_open_files().expect("raise open files");

        assert_eq!(soft, hard);
        assert!(soft > 0);
    }
}
