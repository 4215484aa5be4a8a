use std::time::Duration;

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;
use crate::telemetry::LogFormat;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn run(flags: &str) -> run::Args {
    let line = format!("pgsteer run --lease-namespace ns --pod-name pod {flags}");
    match parse(&line).unwrap().command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_sound_in_itself() {
    Cli::command().debug_assert();
}

#[test]
fn under_the_plugins_name_help_and_examples_say_kubectl() {
    let help = |program: &str, arguments: &[&str]| {
        let arguments = std::iter::once(program).chain(arguments.iter().copied());
        let help = command(Some(program.as_ref()))
            .try_get_matches_from(arguments)
            .unwrap_err();
        assert_eq!(help.exit_code(), 0, "{help}");
        help.to_string()
    };
    for arguments in [&["--help"][..], &["status", "--help"]] {
        let (own, plugin) = (
            help("/usr/bin/pgsteer", arguments),
            help("/opt/kubectl-pgsteer", arguments),
        );
        assert!(
            own.contains("Usage: pgsteer") && own.contains("\n  pgsteer status"),
            "{own}"
        );
        let ours = plugin.contains("Usage: kubectl pgsteer") && plugin.contains("\n  kubectl pgsteer status");
        assert!(ours && !plugin.contains("\n  pgsteer "), "{plugin}");
    }
}

#[test]
fn what_is_wrong_is_said_and_ends_with_two() {
    for (line, kind) in [
        ("pgsteer", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("pgsteer walk", ErrorKind::InvalidSubcommand),
        ("pgsteer crd --fast", ErrorKind::UnknownArgument),
        ("pgsteer probe", ErrorKind::MissingRequiredArgument),
        ("pgsteer probe here", ErrorKind::ValueValidation),
        ("pgsteer probe here:5432 --timeout soon", ErrorKind::ValueValidation),
        (
            "pgsteer probe here:5432 --tls verify-full",
            ErrorKind::MissingRequiredArgument,
        ),
        ("pgsteer probe here:5432 --tls allow", ErrorKind::InvalidValue),
        ("pgsteer probe here:5432 -o yaml", ErrorKind::InvalidValue),
        ("pgsteer plan --yes", ErrorKind::UnknownArgument),
        ("pgsteer completion", ErrorKind::MissingRequiredArgument),
        ("pgsteer completion csh", ErrorKind::InvalidValue),
        ("pgsteer status -A -n shop", ErrorKind::ArgumentConflict),
        ("pgsteer status -o xml", ErrorKind::InvalidValue),
        ("pgsteer why", ErrorKind::MissingRequiredArgument),
        ("pgsteer history", ErrorKind::MissingRequiredArgument),
        ("pgsteer accept orders", ErrorKind::MissingRequiredArgument),
        ("pgsteer accept orders db-0 --wait long", ErrorKind::ValueValidation),
        ("pgsteer pause", ErrorKind::MissingRequiredArgument),
        ("pgsteer resume orders db-0", ErrorKind::UnknownArgument),
        (
            "pgsteer run --lease-namespace ns --pod-name pod --lease-ttl 5",
            ErrorKind::ValueValidation,
        ),
        (
            "pgsteer run --lease-namespace ns --pod-name pod --admin-address 8080",
            ErrorKind::ValueValidation,
        ),
        (
            "pgsteer run --lease-namespace ns --pod-name pod --log pgsteer=loud",
            ErrorKind::ValueValidation,
        ),
        (
            "pgsteer run --lease-namespace ns --pod-name pod --otlp-endpoint jaeger:4317",
            ErrorKind::ValueValidation,
        ),
        (
            "pgsteer run --lease-namespace ns --pod-name pod --otlp-endpoint https://jaeger",
            ErrorKind::ValueValidation,
        ),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}: {error}");
    }
    for line in [
        "pgsteer --help",
        "pgsteer --version",
        "pgsteer run --help",
        "pgsteer probe --help",
        "pgsteer status --help",
        "pgsteer why --help",
        "pgsteer plan --help",
        "pgsteer completion --help",
        "pgsteer history --help",
        "pgsteer accept --help",
        "pgsteer pause --help",
        "pgsteer resume --help",
    ] {
        assert_eq!(parse(line).expect_err(line).exit_code(), 0, "{line}");
    }
}

#[test]
fn run_has_defaults_that_fit_a_pod() {
    let settings = run("").settings(42).unwrap();
    assert_eq!(settings.election.identity(), "pod_0000002a");
    assert_eq!(
        (settings.election.namespace(), settings.election.lease_name()),
        ("ns", "pgsteer")
    );
    assert_eq!(settings.election.ttl(), Duration::from_secs(5));
    assert_eq!(settings.admin_address.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.namespaces, Vec::<String>::new());
    assert_eq!(settings.telemetry.format, LogFormat::Text);
    assert_eq!(
        (settings.telemetry.otlp_endpoint, settings.telemetry.instance.as_str()),
        (None, "pod_0000002a")
    );
}

#[test]
fn namespaces_are_a_list_and_an_empty_one_means_all() {
    for (flag, expected) in [
        ("--namespaces a,b", vec!["a", "b"]),
        ("--namespaces=a,,b,", vec!["a", "b"]),
        ("--namespaces=", vec![]),
    ] {
        assert_eq!(run(flag).settings(1).unwrap().namespaces, expected, "{flag}");
    }
}

#[test]
fn a_lease_that_cannot_be_is_wrong_usage() {
    for flags in ["--lease-ttl 1s", "--lease-ttl 2500ms", "--lease-name UPPER"] {
        assert!(matches!(run(flags).settings(1), Err(Failure::Usage(_))), "{flags}");
    }
}

#[test]
fn a_password_shows_nowhere() {
    let cli = parse("pgsteer probe here:5432 --password hunter2").unwrap();
    assert!(!format!("{cli:?}").contains("hunter2"));
    assert!(!Cli::command().render_long_help().to_string().contains("--password "));
}
