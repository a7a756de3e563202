//! A real browser, which says how it draws a page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How pages are to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Loads each page in a frame, so that nothing has to be put into it, and writes what it found into its own body.
const PROBE: &str = include_str!("browser/probe.html");
const FOUND: (&str, &str) = ("<pre id=\"found\">", "</pre>");
/// Longer than the pages take; the time is virtual and passes at once.
const BUDGET_MS: u32 = 20_000;
/// For the browser as a whole, seconds.
const LIMIT_SECONDS: &str = "120";

/// Opens pages in headless Chromium and returns, for each in turn, what `browser/probe.html` sees: the drawings with
/// their sizes and colours as they are on the screen.
///
/// # Errors
///
/// When there is no Chromium and none can be installed, or when it does not come to an end with the pages.
pub fn probe(pages: &[PathBuf], scheme: Scheme) -> Result<Vec<Value>> {
    let addresses: Vec<String> = pages
        .iter()
        .map(|page| Ok(format!("file://{}", page.canonicalize()?.display())))
        .collect::<Result<_>>()
        .context("find the pages")?;
    let dir = TempDir::new().context("make a directory")?;
    let probe = dir.path().join("probe.html");
    let addresses = serde_json::to_string(&addresses)?;
    fs::write(&probe, PROBE.replace("ADDRESSES", &addresses)).context("write the probe")?;
    let dom = dump(&probe, &dir.path().join("profile"), scheme)?;
    let found = dom.split_once(FOUND.0);
    let found = found.and_then(|(_, rest)| rest.split_once(FOUND.1));
    let Some((found, _)) = found else {
        bail!("not all pages were loaded:\n{dom}");
    };
    let found = found
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&found).context("read what was found")
}

/// The document as it is when all of it is loaded and drawn.
fn dump(page: &Path, profile: &Path, scheme: Scheme) -> Result<String> {
    let chromium = halley_engines::chromium()?;
    let preferred = match scheme {
        Scheme::Dark => 0,
        Scheme::Light => 1,
    };
    let output = Command::new("timeout")
        .args(["--kill-after=5", LIMIT_SECONDS])
        .arg(chromium.get_program())
        .args(["--headless", "--disable-gpu", "--disable-dev-shm-usage"])
        // Its sandbox needs rights that containers and root lack; the pages are our own.
        .arg("--no-sandbox")
        .arg("--allow-file-access-from-files")
        // Whatever else it does by itself must not need a network.
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync"])
        .arg(format!("--blink-settings=preferredColorScheme={preferred}"))
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--window-size=1400,1000")
        .arg(format!("--virtual-time-budget={BUDGET_MS}"))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .context("start chromium")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "chromium failed ({}):\n{errors}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
