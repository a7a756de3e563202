//! A browser.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::find;
use crate::{apt, cache};

/// The name of Debian's package and of its program.
const NAME: &str = "chromium";

/// The command that starts Chromium. Where it is missing it is installed, if
/// this user may do that.
///
/// # Errors
///
/// When it can neither be found nor installed; the text says what to do by hand.
pub fn chromium() -> Result<Command> {
    // It needs dozens of libraries, fonts and files in fixed places, so it is
    // not unpacked beside the others.
    cache::locked(NAME, || {
        if find(NAME).is_none() {
            apt::install(&[NAME]).context("get chromium")?;
        }
        find(NAME).context("find chromium after its installation")
    })
    .map(Command::new)
}
