//! Halley over real Kafka and Redis: many processes, the real binary.
//!
//! All cases share one cluster, which takes most of the time, and come one
//! after another; `cargo test --test distributed -- NAME` runs those with NAME
//! in theirs.

#![allow(clippy::print_stdout, reason = "it is its own test runner")]

mod bad_input;
mod delivery;
mod faults;
mod newest;
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use halley_tests::cluster::{Cluster, Options};

type Case = (
    &'static str,
    for<'a> fn(&'a mut Cluster) -> LocalBoxFuture<'a, ()>,
);

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($case)),
            |cluster| $module::$case(cluster).boxed_local(),
        )),*]
    };
}

/// Those that break something come last.
const CASES: &[Case] = cases![
    delivery::every_way_of_pushing_reaches_every_transport,
    delivery::pushes_through_either_logic_keep_their_order,
    delivery::a_room_is_pushed_to_where_it_has_members,
    delivery::counts_are_those_of_all_comets,
    newest::every_push_reaches_the_newest_connection,
    bad_input::what_cannot_be_delivered_is_counted_and_passed_over,
    bad_input::a_message_of_two_megabytes_is_refused,
    faults::a_killed_comet_loses_nothing_silently,
    faults::a_killed_logic_loses_nothing,
    faults::a_killed_job_loses_nothing,
    faults::a_drained_comet_sends_its_clients_on,
    faults::an_emptied_redis_is_filled_again,
    faults::without_a_broker_pushes_are_refused_in_time,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        for (name, _) in CASES {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let cases = chosen(&args);
    if cases.is_empty() {
        println!("no case is called so; --list names them");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(&cases));
    ExitCode::SUCCESS
}

/// The cases that the arguments choose, which mean what they do to the test
/// harness of the compiler.
fn chosen(args: &[String]) -> Vec<&'static Case> {
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--skip" => skipped.extend(args.next().map(String::as_str)),
            "--color" | "--format" | "--test-threads" => {
                args.next();
            }
            option => match option.strip_prefix("--skip=") {
                Some(name) => skipped.push(name),
                None if option.starts_with('-') => {}
                None => wanted.push(option),
            },
        }
    }
    let is_chosen = |(name, _): &&Case| {
        let has = |part: &&str| name.contains(part);
        (wanted.is_empty() || wanted.iter().any(has)) && !skipped.iter().any(has)
    };
    CASES.iter().filter(is_chosen).collect()
}

/// A case that fails panics, and with it ends the cluster.
async fn run(cases: &[&Case]) {
    let options = Options::new(PathBuf::from(env!("CARGO_BIN_EXE_halley")));
    let mut cluster = Cluster::start(&options).await.expect("a cluster");
    for (name, case) in cases {
        let started = Instant::now();
        print!("test {name} ... ");
        // Seen before the panic, if there is one.
        std::io::Write::flush(&mut std::io::stdout()).expect("standard output");
        case(&mut cluster).await;
        println!("ok ({:.1} s)", started.elapsed().as_secs_f64());
    }
}
