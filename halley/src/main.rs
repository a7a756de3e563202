//! Halley, all of it in one binary.

mod banner;
mod cli;
mod config;
mod kafka_metrics;
mod lease;
mod logics;
mod outside;
mod process;
mod roles;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os())
}
