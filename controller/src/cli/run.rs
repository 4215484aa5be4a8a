//! `pgsteer run`: the controller's flags.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use shared::names;
use tracing_subscriber::EnvFilter;

use super::{Exit, Failure};
use crate::{
    election,
    run::{self, Settings},
    telemetry::{self, LogFormat},
};

/// Arguments of `pgsteer run`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Which Lease, and as whom.
    #[command(flatten)]
    pub election: ElectionArgs,
    /// Where the process answers about itself.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Namespaces whose routes to look after, separated by commas; empty: all
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        env = "PGSTEER_NAMESPACES",
        default_value = ""
    )]
    pub namespaces: Vec<String>,
}

const HELP: &str = "\
SIGTERM ends it in order: the last write ends, the Lease is released, the last spans are sent.

Examples:
  pgsteer run                                             in a pod, with POD_NAME and POD_NAMESPACE set
  pgsteer run --lease-namespace default --pod-name here   by hand, with your kubeconfig";

/// Which Lease to contend for, and as whom.
#[derive(Debug, clap::Args)]
pub struct ElectionArgs {
    /// Namespace of the Lease that the replicas contend for
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub lease_namespace: String,
    /// Name of that Lease
    #[arg(long, value_name = "NAME", default_value = names::LEASE)]
    pub lease_name: String,
    /// Name of this pod; a random number is added, so that a restart is another holder
    #[arg(long, value_name = "NAME", env = "POD_NAME", value_parser = NonEmptyStringValueParser::new())]
    pub pod_name: String,
    /// How long a leader that is gone is waited for, in whole seconds
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub lease_ttl: Duration,
}

/// Where the process answers about itself.
#[derive(Debug, clap::Args)]
pub struct AdminArgs {
    /// Address and port of /livez, /readyz and /metrics
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
}

/// Logs and traces.
#[derive(Debug, clap::Args)]
pub struct TelemetryArgs {
    /// What is logged: a level, or targets with levels, such as info,controller=debug
    #[arg(long, value_name = "FILTER", env = "PGSTEER_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Where traces are sent; without it none are made.
    #[arg(long, value_name = "URL", value_parser = otlp_endpoint, help = OTLP_HELP)]
    pub otlp_endpoint: Option<String>,
}

const OTLP_HELP: &str = "Where traces are sent (OTLP over gRPC), such as http://jaeger:4317; without it none are made";

/// Runs the controller until it is asked to end.
pub async fn execute(args: Args) -> Result<Exit, Failure> {
    run::run(args.settings(rand::random())?).await?;
    Ok(Exit::Yes)
}

// === impl Args ===

impl Args {
    /// What the controller is told; `random` makes its identity unlike any other's.
    pub fn settings(self, random: u32) -> Result<Settings, Failure> {
        let Self {
            election,
            admin,
            telemetry,
            namespaces,
        } = self;
        let ElectionArgs {
            lease_namespace,
            lease_name,
            pod_name,
            lease_ttl,
        } = election;
        let AdminArgs { admin_address } = admin;
        let TelemetryArgs {
            log,
            log_format,
            otlp_endpoint,
        } = telemetry;
        let identity = election::identity(&pod_name, random);
        let election = election::Settings::new(lease_namespace, lease_name, &identity, lease_ttl);
        let election = election
            .context("wrong --lease-* or --pod-name")
            .map_err(Failure::Usage)?;
        let filter = EnvFilter::try_new(log).context("wrong --log").map_err(Failure::Usage)?;
        let namespaces = namespaces
            .into_iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty());
        Ok(Settings {
            election,
            namespaces: namespaces.collect(),
            admin_address,
            telemetry: telemetry::Settings {
                format: log_format,
                filter,
                otlp_endpoint,
                instance: identity,
            },
        })
    }
}

/// Checked when it is parsed, so that the flag is named in the message.
fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_sound| text.to_owned())
        .map_err(|error| error.to_string())
}

fn otlp_endpoint(text: &str) -> Result<String, String> {
    let sound = text
        .parse::<http::Uri>()
        .ok()
        .filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    sound.map(|_uri| text.to_owned()).ok_or_else(|| {
        "it must be http://HOST:PORT (gRPC without TLS; for TLS, run a collector beside the pod)".to_owned()
    })
}
