//! `pgsteer crd`: the two custom resources, as `kubectl apply` takes them.

use clap::ValueEnum;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use shared::{ledger::PostgresLedger, route::PostgresRoute};

use super::{Exit, Failure, answer};

/// Arguments of `pgsteer crd`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pgsteer crd | kubectl apply --server-side -f -")]
pub struct Args {
    /// Print this one alone
    #[arg(value_enum)]
    pub kind: Option<Kind>,
}

/// The two custom resources, by their plural names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// PostgresRoute: what the user writes
    #[value(name = "postgresroutes")]
    Routes,
    /// PostgresLedger: what pgsteer remembers
    #[value(name = "postgresledgers")]
    Ledgers,
}

/// Prints one, or both.
pub fn execute(args: &Args) -> Result<Exit, Failure> {
    let Args { kind } = args;
    let kinds = kind.map_or_else(|| vec![Kind::Routes, Kind::Ledgers], |kind| vec![kind]);
    let documents: Result<Vec<String>, _> = kinds.into_iter().map(Kind::yaml).collect();
    answer(&documents?.join("---\n"))?;
    Ok(Exit::Yes)
}

// === impl Kind ===

impl Kind {
    /// The definition.
    pub fn definition(self) -> CustomResourceDefinition {
        match self {
            Self::Routes => PostgresRoute::crd(),
            Self::Ledgers => PostgresLedger::crd(),
        }
    }

    /// The definition as a YAML document, without the line that separates documents.
    pub fn yaml(self) -> Result<String, serde_norway::Error> {
        serde_norway::to_string(&self.definition())
    }
}
