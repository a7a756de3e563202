//! `halley drain`: has a process drain and end, and waits for that.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use halley_node::DrainOutcome;
use humantime_serde::re::humantime;

use crate::process;

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Where the process is watched (admin.bind)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3100")]
    admin: String,
    /// How long to wait for its end; more than its drain.deadline
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Prints how the drain went; fails when work had to be cut off.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let DrainOutcome { clean, forced } = process::block_on(drain(args))?;
    super::print(&format!("drained: {clean} clean, {forced} forced\n"))?;
    Ok(if forced == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn drain(args: &Args) -> anyhow::Result<DrainOutcome> {
    let url = format!("http://{}/drain", args.admin);
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(args.timeout)
        .build()?;
    let response = client
        .post(&url)
        .send()
        .await
        .with_context(|| format!("ask {} to drain", args.admin))?;
    let status = response.status();
    if !status.is_success() {
        let text = response.text().await.unwrap_or_default();
        bail!("{} refused to drain: {status} {text}", args.admin);
    }
    response.json().await.context("read how the drain went")
}
