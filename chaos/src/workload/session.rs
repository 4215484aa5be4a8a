//! One session with a PostgreSQL server, over TLS with the server's certificate checked.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How to log in.
#[derive(Clone)]
pub struct Login {
    /// The name that the server's certificate must carry; looked up unless `address` is given.
    pub host: String,
    /// Where to connect instead of where the name leads.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password.
    pub password: Vec<u8>,
    /// Whom to believe.
    pub tls: Tls,
}

/// Certificate authorities to believe, ready for use.
#[derive(Clone)]
pub struct Tls(MakeRustlsConnect);

/// The certificate authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadAuthority {
    /// It is not PEM with a certificate in it.
    #[error("the certificate authority is not sound PEM")]
    Pem(#[source] pem::Error),
    /// The TLS library refuses it.
    #[error("the certificate authority cannot be used")]
    Refused(#[source] rustls::Error),
}

/// A connection is there, and nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    /// No certificate can carry the name.
    #[error("no certificate can carry the name {host:?}")]
    Name {
        /// The name.
        host: String,
    },
    /// The server, or its certificate.
    #[error(transparent)]
    Server(#[from] tokio_postgres::Error),
}

/// A session that is logged in. It ends when dropped.
pub struct Session {
    client: Client,
    driver: JoinSet<Result<(), tokio_postgres::Error>>,
}

impl Login {
    fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .password(&self.password)
            .application_name("chaos")
            .ssl_mode(SslMode::Require);
        config
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Believes the authorities of a PEM text.
    pub fn from_pem(authority: &[u8]) -> Result<Self, BadAuthority> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority) {
            let certificate = certificate.map_err(BadAuthority::Pem)?;
            roots.add(certificate).map_err(BadAuthority::Refused)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(BadAuthority::Refused)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(MakeRustlsConnect::new(config)))
    }
}

impl Session {
    /// Connects and logs in. `limit` bounds the TCP connection alone: a caller that needs more puts a deadline around it.
    pub async fn open(login: &Login, limit: Duration) -> Result<Self, tokio_postgres::Error> {
        let mut config = login.config();
        config.connect_timeout(limit);
        if let Some(address) = login.address {
            config.hostaddr(address);
        }
        let (client, connection) = config.connect(login.tls.0.clone()).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { client, driver })
    }

    /// Logs in over a connection that the caller has made.
    pub async fn over(stream: TcpStream, login: &Login) -> Result<Self, NotLetIn> {
        let mut tls = login.tls.0.clone();
        let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &login.host).map_err(|_invalid| {
            NotLetIn::Name {
                host: login.host.clone(),
            }
        })?;
        let (client, connection) = login.config().connect_raw(stream, tls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { client, driver })
    }

    /// Says good-bye, so that the server does not write a broken connection into its log.
    pub async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        // What becomes of it is the server's affair.
        tokio::time::timeout(FAREWELL_MAX, driver.join_next()).await.ok();
    }

    /// Runs one statement and returns the rows of its answer, once the server has committed it.
    pub async fn query(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }
}

/// A farewell is a courtesy; it may take this long.
const FAREWELL_MAX: Duration = Duration::from_millis(100);

/// An error with all its causes in one line: the database's own message is a cause.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
