//! What the probes log in with: read from Secrets by name, never listed or watched.
//!
//! A Secret is read when a route is first probed, and again when a server refuses the login or TLS fails, at most every
//! [`READ_EVERY`]. A rotated password is picked up by that, without a restart.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use probe::{Password, Target, Tls};
use shared::route::{Connection, TlsMode};
use tokio::sync::Mutex;

use super::RouteKey;
use crate::clock::{Clock, Tick};

/// A Secret is read at most this often for one route, however many servers refuse the login.
const READ_EVERY: Duration = Duration::from_secs(10);

/// How long one read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is nothing to log in with. A person has to act; it is tried again every [`READ_EVERY`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialError {
    /// There is no such Secret.
    #[error("Secret {0} does not exist: create it, or correct the route's spec.connection")]
    Missing(String),
    /// The Secret has no such key.
    #[error("Secret {secret} has no key {key:?}: add it, or correct the route's spec.connection")]
    Key {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
    },
    /// The API server did not hand it out.
    #[error("Secret {secret} cannot be read ({reason}): the controller's role needs `get` on secrets there")]
    Unreadable {
        /// The Secret.
        secret: String,
        /// What the API server said.
        reason: String,
    },
    /// The certificates are not usable.
    #[error("key {key:?} of Secret {secret} holds no usable certificates: {reason}")]
    Certificates {
        /// The Secret.
        secret: String,
        /// The key.
        key: String,
        /// What is wrong with them.
        reason: String,
    },
}

/// What the probes of one route log in with; the pod's address is added for each.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    user: String,
    database: String,
    password: Password,
    trust: Trust,
}

#[derive(Debug, Clone)]
enum Trust {
    Disable,
    Require,
    VerifyFull {
        ca_pem: Arc<[u8]>,
        server_name: Option<String>,
    },
}

impl Login {
    /// Whom to ask at this address.
    pub(crate) fn target(&self, address: SocketAddr) -> Result<Target, String> {
        let tls = match &self.trust {
            Trust::Disable => Tls::Disable,
            Trust::Require => Tls::Require,
            Trust::VerifyFull { ca_pem, server_name } => {
                let name = server_name.clone().unwrap_or_else(|| address.ip().to_string());
                Tls::verify_full(ca_pem, name).map_err(|error| error.to_string())?
            }
        };
        let (user, database) = (self.user.clone(), self.database.clone());
        Ok(Target {
            address,
            user,
            database,
            password: self.password.clone(),
            tls,
        })
    }
}

/// The logins of all routes.
pub(crate) struct Credentials {
    client: Client,
    clock: Arc<dyn Clock>,
    routes: Mutex<BTreeMap<RouteKey, Arc<Mutex<Option<Entry>>>>>,
}

struct Entry {
    connection: Connection,
    read: Tick,
    login: Result<Login, CredentialError>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    pub(crate) fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            routes: Mutex::default(),
        }
    }

    /// The route's login. `rejected` says that a server did not take the last one: it is read again, unless it just was.
    pub(crate) async fn login(
        &self,
        route: &RouteKey,
        connection: &Connection,
        rejected: bool,
    ) -> Result<Login, CredentialError> {
        let shared = Arc::clone(self.routes.lock().await.entry(route.clone()).or_default());
        let mut entry = shared.lock().await;
        let now = self.clock.now();
        let usable = entry.as_ref().filter(|entry| {
            let wanted_anew = rejected || entry.login.is_err();
            entry.connection == *connection && !(wanted_anew && now.since(entry.read) >= READ_EVERY)
        });
        if let Some(entry) = usable {
            return entry.login.clone();
        }
        if let Some(held) = entry.as_mut()
            && held.connection == *connection
            && held.login.is_ok()
        {
            // One server has refused it; the others are asked with it meanwhile, and nobody else reads it anew.
            held.read = now;
            drop(entry);
            let login = self.read(&route.namespace, connection).await;
            let mut entry = shared.lock().await;
            // An API server that gives no answer does not make the login wrong for those who take it.
            let definite = !matches!(login, Err(CredentialError::Unreadable { .. }));
            if let Some(held) = entry.as_mut().filter(|held| definite && held.connection == *connection) {
                held.login.clone_from(&login);
            }
            return login;
        }
        // Nobody can be asked without it: who comes now waits for this one read.
        let login = self.read(&route.namespace, connection).await;
        *entry = Some(Entry {
            connection: connection.clone(),
            read: now,
            login: login.clone(),
        });
        login
    }

    /// Forgets a route that is gone.
    pub(crate) async fn forget(&self, route: &RouteKey) {
        self.routes.lock().await.remove(route);
    }

    async fn read(&self, namespace: &str, connection: &Connection) -> Result<Login, CredentialError> {
        let password = match &connection.password_secret {
            None => Password::default(),
            Some(secret) => {
                let mut bytes = self.key(namespace, &secret.name, &secret.key).await?;
                // An editor's newline at the end is never part of the password.
                while bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                Password::new(bytes)
            }
        };
        let trust = match (connection.tls.mode, &connection.tls.ca_secret) {
            (TlsMode::Disable, _) => Trust::Disable,
            (TlsMode::Require, _) | (TlsMode::VerifyFull, None) => Trust::Require,
            (TlsMode::VerifyFull, Some(secret)) => {
                let ca_pem: Arc<[u8]> = self.key(namespace, &secret.name, &secret.key).await?.into();
                probe::Roots::from_pem(&ca_pem).map_err(|error| CredentialError::Certificates {
                    secret: format!("{namespace}/{}", secret.name),
                    key: secret.key.clone(),
                    reason: error.to_string(),
                })?;
                Trust::VerifyFull {
                    ca_pem,
                    server_name: connection.tls.server_name.clone(),
                }
            }
        };
        Ok(Login {
            user: connection.user.clone(),
            database: connection.database.clone(),
            password,
            trust,
        })
    }

    async fn key(&self, namespace: &str, name: &str, key: &str) -> Result<Vec<u8>, CredentialError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let shown = format!("{namespace}/{name}");
        let unreadable = |reason: String| CredentialError::Unreadable {
            secret: shown.clone(),
            reason,
        };
        let secret = match tokio::time::timeout(READ_TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(Some(secret))) => secret,
            Ok(Ok(None)) => return Err(CredentialError::Missing(shown)),
            Ok(Err(kube::Error::Api(status))) => return Err(unreadable(status.message)),
            Ok(Err(error)) => return Err(unreadable(error.to_string())),
            Err(_elapsed) => return Err(unreadable(format!("no answer within {READ_TIMEOUT:?}"))),
        };
        let value = secret
            .data
            .and_then(|mut data| data.remove(key))
            .filter(|value| !value.0.is_empty());
        value.map(|value| value.0).ok_or_else(|| CredentialError::Key {
            secret: shown,
            key: key.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
        task::Poll,
    };

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::Body;
    use shared::route::{PasswordSecret, Tls};
    use tower::service_fn;

    use super::*;
    use crate::clock::ManualClock;

    const SECRET: &str =
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"probe"},"data":{"password":"cmlnaHQ="}}"#;

    /// An API server that hands the Secret out once, and never answers after that.
    fn answers_once(asked: &Arc<AtomicUsize>) -> Client {
        let asked = Arc::clone(asked);
        let server = service_fn(move |_: Request<Body>| {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if !first {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(SECRET.as_bytes()))))
            }
        });
        Client::new(server, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_login_does_not_keep_the_other_servers_from_being_asked() {
        let (clock, asked) = (Arc::new(ManualClock::default()), Arc::new(AtomicUsize::new(0)));
        let credentials = Credentials::new(answers_once(&asked), Arc::<ManualClock>::clone(&clock));
        let route = RouteKey {
            namespace: "default".to_owned(),
            name: "route".to_owned(),
        };
        let connection = Connection {
            user: "pgsteer".to_owned(),
            database: "postgres".to_owned(),
            password_secret: Some(PasswordSecret {
                name: "probe".to_owned(),
                key: "password".to_owned(),
            }),
            tls: Tls {
                mode: TlsMode::Disable,
                ..Tls::default()
            },
        };
        assert!(credentials.login(&route, &connection, false).await.is_ok());
        clock.advance(READ_EVERY);
        let refused = credentials.login(&route, &connection, true);
        tokio::pin!(refused);
        assert!(futures::poll!(&mut refused).is_pending(), "it is read anew");
        let other = futures::poll!(std::pin::pin!(credentials.login(&route, &connection, false)));
        assert!(matches!(other, Poll::Ready(Ok(_))), "the others go on meanwhile");
        let also_refused = futures::poll!(std::pin::pin!(credentials.login(&route, &connection, true)));
        assert!(matches!(also_refused, Poll::Ready(Ok(_))), "and nobody reads it twice");
        assert!(
            matches!(refused.await, Err(CredentialError::Unreadable { .. })),
            "within a bound"
        );
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let afterwards = credentials.login(&route, &connection, false).await;
        assert!(afterwards.is_ok(), "nothing was said against it");
    }
}
