//! CoreDNS: the names of Services and pods, on the control plane's address. Pods ask it directly.

use std::net::SocketAddr;
use std::path::Path;

use super::Error;
use super::component::{Component, Room};
use super::layout::{Layout, write};
use super::names::{CONTROL_PLANE, DOMAIN};

/// The user whose certificate and kubeconfig it uses.
pub(crate) const USER: &str = "coredns";

/// Where it answers.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from((CONTROL_PLANE, 53))
}

pub(crate) fn component(program: &Path, layout: &Layout, room: Room) -> Result<Component, Error> {
    let corefile = layout.etc("Corefile");
    write(&corefile, self::corefile(&layout.kubeconfig(USER)))?;
    let args = vec!["-conf".to_owned(), corefile.display().to_string()];
    Ok(Component {
        name: "coredns".to_owned(),
        program: program.to_owned(),
        args,
        env: Vec::new(),
        room,
    })
}

/// The shortest life that the plugin allows keeps a resolver's memory out of what is measured. Names outside the cluster do not exist, which
/// is told at once: there is no uplink, and a resolver that waits for one would look like a slow database.
fn corefile(kubeconfig: &Path) -> String {
    format!(
        "{DOMAIN}:53 in-addr.arpa:53 {{
    bind {CONTROL_PLANE}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {} pgsteer
        pods insecure
        ttl 1
    }}
}}
.:53 {{
    bind {CONTROL_PLANE}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig.display()
    )
}
