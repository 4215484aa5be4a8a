//! What the host must offer: Go, root for nodes, and a few Debian packages.

use std::path::{Path, PathBuf};

use super::Error;
use super::command::Run;
use super::progress::Progress;

/// A program (or file) that a part of the cluster needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needed {
    path: &'static str,
    package: &'static str,
}

/// Everything that nodes need beyond what the cluster builds for itself. A path without a slash is looked for as a program.
const NEEDED: &[Needed] = &[
    Needed {
        path: "runc",
        package: "runc",
    },
    Needed {
        path: "/usr/lib/cni/ptp",
        package: "containernetworking-plugins",
    },
    Needed {
        path: "nft",
        package: "nftables",
    },
    Needed {
        path: "conntrack",
        package: "conntrack",
    },
    Needed {
        path: "ipset",
        package: "ipset",
    },
    Needed {
        path: "ip",
        package: "iproute2",
    },
    Needed {
        path: "nsenter",
        package: "util-linux",
    },
    Needed {
        path: "mount",
        package: "mount",
    },
    Needed {
        path: "mkfs.ext4",
        package: "e2fsprogs",
    },
    Needed {
        path: "mmdebstrap",
        package: "mmdebstrap",
    },
];

/// Where programs for root live, whatever the PATH of a user's shell says.
pub(crate) const PROGRAM_DIRECTORIES: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The Go release that would build the programs, such as `go1.26.8`.
pub(crate) async fn go_version() -> Result<String, Error> {
    let said = Run::new(go())
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .run()
        .await?;
    Ok(said.out.trim().to_owned())
}

/// The Go tool: from the PATH, else from where Go's own installer puts it, which root's PATH often lacks.
pub(crate) fn go() -> &'static str {
    let installed = "/usr/local/go/bin/go";
    if find("go").is_none() && Path::new(installed).is_file() {
        installed
    } else {
        "go"
    }
}

/// Whether this process may make namespaces, mounts and cgroups.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Refuses to go on without root.
pub(crate) fn require_root() -> Result<(), Error> {
    if is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

/// Finds a program in the usual directories.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    PROGRAM_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
}

/// Installs the Debian packages that are missing when root; otherwise tells the one command that does.
pub(crate) async fn ensure_packages(progress: Progress) -> Result<(), Error> {
    let missing = missing(|needed| {
        if needed.starts_with('/') {
            Path::new(needed).exists()
        } else {
            find(needed).is_some()
        }
    });
    if missing.is_empty() {
        return Ok(());
    }
    let command = install_command(&missing);
    if !is_root() || find("apt-get").is_none() {
        return Err(Error::MissingPackages { command });
    }
    progress.tell(&format!("installing what is missing: {command}"));
    // A stale package list is the usual reason for a failure, so the list is refreshed first.
    Run::new("apt-get").args(["update", "-q"]).run().await?;
    Run::new("apt-get")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(&missing)
        .run()
        .await?;
    Ok(())
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    NEEDED
        .iter()
        .filter(|needed| !is_there(needed.path))
        .map(|needed| needed.package)
        .collect()
}

fn install_command(packages: &[&str]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let packages = missing(|path| path != "nft" && path != "/usr/lib/cni/ptp");
        assert_eq!(packages, ["containernetworking-plugins", "nftables"]);
        let command = install_command(&packages);
        assert_eq!(
            command,
            "sudo apt-get install --no-install-recommends containernetworking-plugins nftables"
        );
    }
}
