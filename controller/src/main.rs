//! The one binary: `pgsteer`.

use std::process::ExitCode;

use controller::cli::{Exit, execute, parse};
use rustls::crypto::ring;

fn main() -> ExitCode {
    // Before anything else: whoever makes a TLS connection takes the provider that is installed.
    if ring::default_provider().install_default().is_err() {
        return Exit::CouldNotAsk.into();
    }
    execute(parse()).into()
}
