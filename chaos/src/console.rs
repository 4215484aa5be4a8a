//! Sessions with one server itself, past every Service: what a promoter has, and what a person uses to look afterwards.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client, ResourceExt};

use crate::cluster;
use crate::ground::{Ground, Way};
use crate::install::{NAMESPACE, PODS};
use crate::workload::session::{Login, Session, Tls, told};

/// The name in the certificate of a namespace's servers that is theirs and no Service's.
pub(crate) fn certificate_name(namespace: &str) -> String {
    format!("pg.{namespace}.svc")
}

/// PostgreSQL's port in the pods.
pub(crate) const POSTGRES_PORT: u16 = 5432;
/// Connecting inside one host takes milliseconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A server of the route, as it is called and as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its pod.
    pub pod: String,
    /// Its pod's address.
    pub address: String,
}

/// What it takes to log in to any of the servers.
#[derive(Clone)]
pub struct Keys {
    tls: Tls,
    host: String,
    superuser: Vec<u8>,
}

/// A session with one server, as the superuser.
pub struct Console {
    session: Session,
    pod: String,
    _way: Way,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("pod", &self.pod)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// From the example's Secrets.
    pub async fn read(client: &Client) -> Result<Self, cluster::Error> {
        Self::read_in(client, NAMESPACE).await
    }

    /// The same of an example in another namespace.
    pub async fn read_in(client: &Client, namespace: &str) -> Result<Self, cluster::Error> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let authority = secret(&secrets, "pg-ca", "ca.crt").await?;
        Ok(Self {
            tls: Tls::from_pem(&authority).map_err(|error| unusable("Secret pg-ca", &told(&error)))?,
            host: certificate_name(namespace),
            superuser: secret(&secrets, "pg-superuser", "password").await?,
        })
    }

    /// How the superuser logs in to the server at an address.
    pub(crate) fn login(&self, address: IpAddr) -> Login {
        Login {
            host: self.host.clone(),
            address: Some(address),
            port: POSTGRES_PORT,
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            password: self.superuser.clone(),
            tls: self.tls.clone(),
        }
    }

    /// Logs in to a server.
    pub async fn open(&self, ground: &Ground, server: &Server, database: &str) -> Result<Console, cluster::Error> {
        let (login, way) = self.way_in(ground, server, database)?;
        let unreachable = |why: String| unusable(&format!("the server of pod {}", server.pod), &why);
        let opened = tokio::time::timeout(CONNECT_LIMIT, Session::open(&login, CONNECT_LIMIT)).await;
        let session = opened
            .map_err(|elapsed| unreachable(format!("no answer: {elapsed}")))?
            .map_err(|error| unreachable(told(&error)))?;
        Ok(Console {
            session,
            pod: server.pod.clone(),
            _way: way,
        })
    }

    /// Logs in until the server has no place left, those kept for the superuser included.
    pub async fn crowd(&self, ground: &Ground, server: &Server) -> Result<Crowd, cluster::Error> {
        let (login, way) = self.way_in(ground, server, "postgres")?;
        let mut sessions = Vec::new();
        while sessions.len() < PLACES_MAX {
            match tokio::time::timeout(CONNECT_LIMIT, Session::open(&login, CONNECT_LIMIT)).await {
                Ok(Ok(session)) => sessions.push(session),
                Ok(Err(_refused)) => break,
                Err(_elapsed) => break,
            }
        }
        Ok(Crowd { sessions, _way: way })
    }

    /// How to log in, and the way there.
    fn way_in(&self, ground: &Ground, server: &Server, database: &str) -> Result<(Login, Way), cluster::Error> {
        let way = ground.reach(server, POSTGRES_PORT)?;
        let login = Login {
            port: way.address().port(),
            database: database.to_owned(),
            ..self.login(way.address().ip())
        };
        Ok((login, way))
    }
}

/// Sessions that take every place of a server. They end when dropped.
pub struct Crowd {
    sessions: Vec<Session>,
    _way: Way,
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd")
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

/// The example's servers have 100 places.
const PLACES_MAX: usize = 1000;

impl Crowd {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether the server had no place at all.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

impl Console {
    /// The first column of the first row of an answer.
    pub async fn ask(&self, sql: &str) -> Result<String, cluster::Error> {
        let rows = self.rows(sql).await?;
        let first = rows.first().and_then(|row| row.get(0));
        Ok(first.unwrap_or_default().to_owned())
    }

    /// Every row of an answer, as text.
    pub async fn rows(&self, sql: &str) -> Result<Vec<tokio_postgres::SimpleQueryRow>, cluster::Error> {
        let rows = self.session.query(sql).await;
        rows.map_err(|error| unusable(&format!("an answer of pod {}", self.pod), &told(&error)))
    }
}

/// The pods of the route that have an address.
pub async fn servers(client: &Client) -> Result<Vec<(Server, Pod)>, cluster::Error> {
    servers_in(client, NAMESPACE).await
}

/// The pods of an example in another namespace that have an address.
pub async fn servers_in(client: &Client, namespace: &str) -> Result<Vec<(Server, Pod)>, cluster::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = pods.list(&kube::api::ListParams::default().labels(PODS)).await;
    let listed = listed.map_err(cluster::Error::api("list the pods"))?;
    let servers = listed.items.into_iter().filter_map(|pod| {
        let address = pod.status.as_ref()?.pod_ip.clone()?;
        let server = Server {
            pod: pod.name_any(),
            address,
        };
        Some((server, pod))
    });
    Ok(servers.collect())
}

async fn secret(secrets: &Api<Secret>, name: &str, key: &str) -> Result<Vec<u8>, cluster::Error> {
    let found = secrets.get(name).await;
    let found = found.map_err(cluster::Error::api(format!("show the Secret {name}")))?;
    let value = found.data.and_then(|mut data| data.remove(key));
    value
        .map(|value| value.0)
        .ok_or_else(|| unusable(&format!("key {key} of Secret {name}"), "the Secret has no such key"))
}

fn unusable(what: &str, why: &str) -> cluster::Error {
    cluster::Error::NoSuch {
        what: what.to_owned(),
        hint: why.to_owned(),
    }
}
