use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::{Cli, Command, Parser as _};

/// Wide enough that no terminal decides where lines end.
const COLUMNS: usize = 100;

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["halley"].iter().chain(args))
}

fn help(command: &str) -> String {
    let mut cli = Cli::command().term_width(COLUMNS);
    cli.build();
    let command = match command {
        "" => &mut cli,
        name => cli.find_subcommand_mut(name).expect("a command"),
    };
    command
        .clone()
        .term_width(COLUMNS)
        .render_long_help()
        .to_string()
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_of_halley() {
    insta::assert_snapshot!(help(""));
}

#[test]
fn help_of_a_role() {
    insta::assert_snapshot!(help("comet"));
    for other in ["logic", "job"] {
        let flags = |name| {
            help(name)
                .split_once("Options:")
                .map(|(_, flags)| flags.to_owned())
        };
        assert_eq!(flags("comet"), flags(other));
    }
}

#[test]
fn help_of_check_config() {
    insta::assert_snapshot!(help("check-config"));
}

#[test]
fn help_of_drain() {
    insta::assert_snapshot!(help("drain"));
}

#[test]
fn help_of_print_config() {
    insta::assert_snapshot!(help("print-config"));
}

#[test]
fn help_of_token() {
    insta::assert_snapshot!(help("token"));
}

#[test]
fn help_of_connect() {
    insta::assert_snapshot!(help("connect"));
}

#[test]
fn help_of_import_goim() {
    insta::assert_snapshot!(help("import-goim"));
}

#[test]
fn without_a_command_everything_is_served() {
    let cli = parse(&["--set", "log.filter = debug", "--http", "127.0.0.1:1"]).unwrap();

    assert!(cli.command.is_none());
    let set = ("log.filter".to_owned(), "debug".to_owned());
    assert_eq!(cli.serve.config.sets, [set]);
    assert_eq!(cli.serve.config.http.as_deref(), Some("127.0.0.1:1"));
}

#[test]
fn flags_in_front_of_a_command_are_refused_instead_of_ignored() {
    let error = parse(&["--http", "127.0.0.1:1", "logic"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ArgumentConflict);

    let cli = parse(&["logic", "--http", "127.0.0.1:1"]).unwrap();
    assert!(matches!(cli.command, Some(Command::Logic(_))));
}

#[test]
fn a_set_without_a_value_is_refused() {
    let error = parse(&["--set", "log.filter"]).unwrap_err();
    assert!(error.to_string().contains("expected KEY=VALUE"), "{error}");
}

#[test]
fn a_token_is_signed_with_one_key() {
    parse(&["token", "--mid", "7"]).unwrap_err();
    parse(&["token", "--mid", "7", "--key-file", "key"]).unwrap_err();
    parse(&["token", "--mid", "7", "--secret-file", "s"]).unwrap();
    parse(&[
        "token",
        "--mid",
        "7",
        "--secret-file",
        "s",
        "--algorithm",
        "ES256",
    ])
    .unwrap_err();
    parse(&[
        "token",
        "--mid",
        "7",
        "--secret-file",
        "s",
        "--key-file",
        "k",
        "--algorithm",
        "ES256",
    ])
    .unwrap_err();
}
