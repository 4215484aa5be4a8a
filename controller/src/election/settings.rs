//! What an elector is told, and the spans that follow from it.

use std::time::Duration;

/// The shortest ttl: the renewal's deadline is a fifth of it, and an API server under load must be able to meet that.
pub const TTL_MIN: Duration = Duration::from_secs(2);

/// The longest ttl: a leader that dies is missed for this long, and nobody means more than a few minutes.
pub const TTL_MAX: Duration = Duration::from_mins(10);

/// The ttl when nothing else is asked for: five renewals fit, and a dead leader is replaced within about five seconds.
pub const TTL_DEFAULT: Duration = Duration::from_secs(5);

/// Renewals that fit into a ttl. Four of five may fail before the reign ends.
const RENEWALS_PER_TTL: u32 = 5;

/// Attempts that fit between two renewals after one that failed at once.
const RETRIES_PER_RENEWAL: u32 = 4;

/// The part of a ttl that the holder gives up: its clock may run slower than a candidate's by as much.
const MARGINS_PER_TTL: u32 = 10;

/// Kubernetes takes object names up to this length.
const NAME_BYTES_MAX: usize = 253;

/// Which Lease to contend for, under what name, for how long at a time.
///
/// Build it with [`Settings::new`], which checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    namespace: String,
    lease_name: String,
    identity: String,
    ttl: Duration,
}

/// What is wrong with the settings. The operator changes the flag and starts again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The Lease knows whole seconds only; a fraction would be cut off and the candidates would wait too short.
    #[error("lease ttl {0:?} is not in whole seconds: choose 2s to 10m, in whole seconds")]
    Fraction(Duration),
    /// Too short to be renewed reliably, or too long to be meant.
    #[error("lease ttl {0:?} is out of range: choose 2s to 10m, in whole seconds")]
    Range(Duration),
    /// A name that Kubernetes would refuse.
    #[error(
        "{what} {value:?} is not a name that Kubernetes accepts: lower-case letters, digits, '-' and '.', at most 253"
    )]
    Name {
        /// Which of the settings.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// An identity that the command line could not turn back into a pod's name, or that reads as "nobody".
    #[error("identity {0:?} is not <pod>_<8 hex digits>")]
    Identity(String),
}

/// The name under which one process holds the Lease: its pod, and a number that no other process of that pod has. Without
/// the number a restarted container would take its predecessor's term for its own.
pub fn identity(pod_name: &str, random: u32) -> String {
    format!("{pod_name}_{random:08x}")
}

/// The pod in an identity made by [`identity`]; `None` when it is not of that form.
pub fn pod_of(identity: &str) -> Option<&str> {
    let (pod, number) = identity.rsplit_once('_')?;
    let hex = number.len() == 8
        && number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (hex && is_name(pod)).then_some(pod)
}

// === impl Settings ===

impl Settings {
    /// Checks and takes the settings. `identity` comes from [`identity`]; `ttl` is in whole seconds, [`TTL_MIN`] to
    /// [`TTL_MAX`].
    pub fn new(
        namespace: impl Into<String>,
        lease_name: impl Into<String>,
        identity: impl Into<String>,
        ttl: Duration,
    ) -> Result<Self, SettingsError> {
        let (namespace, lease_name, identity) = (namespace.into(), lease_name.into(), identity.into());
        for (what, value) in [("lease namespace", &namespace), ("lease name", &lease_name)] {
            if !is_name(value) {
                return Err(SettingsError::Name {
                    what,
                    value: value.clone(),
                });
            }
        }
        if pod_of(&identity).is_none() {
            return Err(SettingsError::Identity(identity));
        }
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(SettingsError::Range(ttl));
        }
        if ttl.subsec_nanos() != 0 {
            return Err(SettingsError::Fraction(ttl));
        }
        Ok(Self {
            namespace,
            lease_name,
            identity,
            ttl,
        })
    }

    /// Where the Lease is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What the Lease is called.
    pub fn lease_name(&self) -> &str {
        &self.lease_name
    }

    /// The name under which this process holds the Lease.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long a candidate watches a Lease stand still before it takes it.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How often the holder renews, and a candidate looks although the watch is silent.
    pub fn renew_every(&self) -> Duration {
        self.ttl / RENEWALS_PER_TTL
    }

    /// The wait after an attempt that failed at once.
    pub fn retry_after(&self) -> Duration {
        self.renew_every() / RETRIES_PER_RENEWAL
    }

    /// How long one attempt (a read and a write) may take.
    pub fn attempt_deadline(&self) -> Duration {
        self.renew_every()
    }

    /// How long a renewal counts, from the moment before it was sent.
    pub fn reign_span(&self) -> Duration {
        self.ttl.saturating_sub(self.margin())
    }

    /// What the holder gives up of its ttl, so that no candidate's faster clock overtakes it.
    pub fn margin(&self) -> Duration {
        self.ttl / MARGINS_PER_TTL
    }
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= NAME_BYTES_MAX
        && edge(name.bytes().next())
        && edge(name.bytes().next_back())
        && name.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "pgsteer-7d9f-abcde_0000002a";

    fn with_ttl(ttl: Duration) -> Result<Settings, SettingsError> {
        Settings::new("pgsteer", "pgsteer", ME, ttl)
    }

    #[test]
    fn an_identity_gives_its_pod_back() {
        assert_eq!(identity("pgsteer-7d9f-abcde", 42), ME);
        assert_eq!(pod_of(ME), Some("pgsteer-7d9f-abcde"));
        for other in [
            "",
            "pod",
            "pod_1234567",
            "pod_0000002A",
            "_0000002a",
            "Pod_0000002a",
            "pod_0000002a_",
        ] {
            assert_eq!(pod_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_ttl_is_in_whole_seconds_and_in_range() {
        let secs = Duration::from_secs;
        assert!(with_ttl(TTL_MIN).is_ok() && with_ttl(TTL_DEFAULT).is_ok() && with_ttl(TTL_MAX).is_ok());
        assert_eq!(
            with_ttl(Duration::from_millis(2500)),
            Err(SettingsError::Fraction(Duration::from_millis(2500)))
        );
        for ttl in [Duration::ZERO, secs(1), TTL_MAX + secs(1), Duration::MAX] {
            assert_eq!(with_ttl(ttl), Err(SettingsError::Range(ttl)));
        }
    }

    #[test]
    fn names_that_kubernetes_refuses_are_refused_here() {
        for bad in ["", "Upper", "-edge", "edge-", "with space", "a/b", &"x".repeat(254)] {
            assert!(Settings::new(bad, "pgsteer", ME, TTL_DEFAULT).is_err(), "{bad:?}");
            assert!(Settings::new("pgsteer", bad, ME, TTL_DEFAULT).is_err(), "{bad:?}");
        }
        assert_eq!(
            Settings::new("pgsteer", "pgsteer", "somebody", TTL_DEFAULT),
            Err(SettingsError::Identity("somebody".to_owned()))
        );
    }

    #[test]
    fn three_failed_renewals_fit_into_a_reign() {
        let settings = with_ttl(TTL_MIN).unwrap();
        assert!(settings.attempt_deadline() * 3 + settings.renew_every() <= settings.reign_span());
        assert!(settings.reign_span() + settings.margin() == settings.ttl() && !settings.margin().is_zero());
    }
}
