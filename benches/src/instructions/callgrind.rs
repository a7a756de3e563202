//! Counting instructions with callgrind.

use std::fs;

use anyhow::{Context as _, ensure};
use halley_engines::valgrind;

/// What differs between the two runs of a case.
const TIMES: u32 = 1_000;
/// Goes of a case after which buffers have their size.
const TIMES_BEFORE: u32 = 100;

/// The C library copies memory in other ways on other processors; without these
/// features of theirs all copy alike.
const PROCESSOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM",
);

/// Instructions of one go: the start of the process, and what happens only
/// once, are in both runs and cancel out.
pub(crate) fn instructions_each(case: &str) -> anyhow::Result<f64> {
    let before = instructions(case, TIMES_BEFORE)?;
    let all = instructions(case, TIMES_BEFORE + TIMES)?;
    let difference = all.checked_sub(before).context("more goes took less")?;
    Ok(as_f64(difference) / f64::from(TIMES))
}

fn instructions(case: &str, times: u32) -> anyhow::Result<u64> {
    let out = tempfile::NamedTempFile::new()?;
    let mut command = valgrind()?;
    command
        .env(PROCESSOR.0, PROCESSOR.1)
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(std::env::current_exe().context("find this executable")?)
        .args(["run", case, &times.to_string()]);
    let output = command.output().context("start valgrind")?;
    ensure!(
        output.status.success(),
        "callgrind failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let counts = fs::read_to_string(out.path()).context("read the counts")?;
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("summary: "));
    let total = total.context("callgrind counted nothing")?;
    total.parse().with_context(|| format!("read {total}"))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
