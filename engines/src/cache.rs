//! Where fetched engines are kept, shared by all processes of this user.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory `name` of the cache, made by `make` if it is not there yet.
/// One process makes it; the others wait.
pub(crate) fn directory(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = root()?;
    let dir = cache.join(name);
    let _lock = lock(name)?;
    if dir.is_dir() {
        return Ok(dir);
    }
    let partial = cache.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).context("remove what an earlier attempt left")?;
    }
    fs::create_dir(&partial).with_context(|| format!("create {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, &dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Runs `action` while no other process runs one under this name.
pub(crate) fn locked<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let _lock = lock(name)?;
    action()
}

/// Waits for the lock `name`, held until the file is dropped.
fn lock(name: &str) -> Result<File> {
    let file = lock_file(name)?;
    file.lock().with_context(|| format!("lock {name}"))?;
    Ok(file)
}

/// The file whose lock stands for `name`.
pub(crate) fn lock_file(name: &str) -> Result<File> {
    let locks = root()?.join("locks");
    fs::create_dir_all(&locks).with_context(|| format!("create {}", locks.display()))?;
    let path = locks.join(name);
    File::create(&path).with_context(|| format!("create {}", path.display()))
}

fn root() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("HALLEY_ENGINES_DIR") {
        return Ok(dir.into());
    }
    let caches = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => env::home_dir()
            .context("no home directory: set HALLEY_ENGINES_DIR")?
            .join(".cache"),
    };
    Ok(caches.join("halley").join("engines"))
}
