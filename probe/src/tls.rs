//! How a connection is protected.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject},
    server::ParsedCertificate,
};
use tokio::net::TcpStream;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

/// A TCP stream under TLS.
pub(crate) type Secured = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::Stream;

/// How a connection is protected. It never falls back to something weaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// In the clear.
    Disable,
    /// Encrypted; **the certificate is not verified**, so whoever sits in between can answer in the server's place, as with
    /// libpq's `require`. The password is safe all the same: it is sent as a SCRAM proof only, never in the open.
    Require,
    /// Encrypted, and the server has shown a certificate for `server_name` that one of `roots` vouches for.
    VerifyFull {
        /// Whom to believe.
        roots: Roots,
        /// The DNS name, or the IP address, that the certificate must carry as a subjectAltName.
        server_name: String,
    },
}

/// The certificate authorities to believe.
#[derive(Clone)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    connector: MakeRustlsConnect,
}

/// Why TLS cannot be set up as asked: a mistake in the configuration, which a person has to correct.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// The text of the certificate authority is not PEM.
    #[error("the certificate authority is not sound PEM")]
    Pem(#[source] pem::Error),
    /// PEM, but no certificate in it: perhaps the key was given in its place.
    #[error("the certificate authority holds no certificate: it must have at least one \"BEGIN CERTIFICATE\" block")]
    NoCertificate,
    /// A block that says it is a certificate and is none, or one that cannot be an authority.
    #[error("certificate {number} of the certificate authority is not usable")]
    Certificate {
        /// Counted from 1, in the order of the file.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// Neither a DNS name nor an IP address.
    #[error("{name:?} is neither a DNS name nor an IP address, so no certificate can carry it")]
    ServerName {
        /// What was given.
        name: String,
    },
}

impl Tls {
    /// `VerifyFull` with the certificate authorities of a PEM text, which may hold several.
    pub fn verify_full(ca_pem: &[u8], server_name: impl Into<String>) -> Result<Self, BadTls> {
        let server_name = server_name.into();
        if ServerName::try_from(server_name.as_str()).is_err() {
            return Err(BadTls::ServerName { name: server_name });
        }
        Ok(Self::VerifyFull {
            roots: Roots::from_pem(ca_pem)?,
            server_name,
        })
    }

    /// Whether the server's certificate is verified.
    pub(crate) fn verifies(&self) -> bool {
        matches!(self, Self::VerifyFull { .. })
    }

    /// What makes TLS sessions, and the name to ask the server for; none when the connection stays in the clear.
    pub(crate) fn connector(&self, address: IpAddr) -> Option<(MakeRustlsConnect, String)> {
        match self {
            Self::Disable => None,
            Self::Require => Some((UNVERIFIED.clone(), address.to_string())),
            Self::VerifyFull { roots, server_name } => Some((roots.connector.clone(), server_name.clone())),
        }
    }
}

impl Roots {
    /// The certificates of a PEM text; anything else in it is passed over, as long as it is sound PEM.
    pub fn from_pem(text: &[u8]) -> Result<Self, BadTls> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
            .collect::<Result<_, _>>()
            .map_err(BadTls::Pem)?;
        if certificates.is_empty() {
            return Err(BadTls::NoCertificate);
        }
        let mut store = RootCertStore::empty();
        for (at, certificate) in certificates.iter().enumerate() {
            store
                .add(certificate.clone())
                .map_err(|source| BadTls::Certificate { number: at + 1, source })?;
        }
        let config = builder().with_root_certificates(store).with_no_client_auth();
        Ok(Self {
            certificates,
            connector: connector(config),
        })
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({} certificates)", self.certificates.len())
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

static UNVERIFIED: LazyLock<MakeRustlsConnect> = LazyLock::new(|| {
    connector(
        builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth(),
    )
});

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
}

fn connector(mut config: ClientConfig) -> MakeRustlsConnect {
    // PostgreSQL resumes no sessions; without a store every handshake looks at the certificate.
    config.resumption = Resumption::disabled();
    MakeRustlsConnect::new(config)
}

/// Believes any certificate, and still asks for proof that the server holds its key: with that proof SCRAM's channel
/// binding keeps whoever sits in between from using a login that passes through.
#[derive(Debug)]
struct AnyCertificate;

impl AnyCertificate {
    /// Certificates of version 1, as an `openssl x509 -req` without extensions makes them, cannot be looked into; they are
    /// common inside clusters, and where nothing is verified nothing is lost by taking them.
    fn opaque(certificate: &CertificateDer<'_>) -> bool {
        ParsedCertificate::try_from(certificate).is_err()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if Self::opaque(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if Self::opaque(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pem: &str, name: &str) -> String {
        Tls::verify_full(pem.as_bytes(), name).unwrap_err().to_string()
    }

    #[test]
    fn a_bad_certificate_authority_is_refused_with_the_reason() {
        let key = "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\nMAA=\n";
        let hollow = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(refused("", "pg.pg.svc").contains("no certificate"));
        assert!(refused("certainly not", "pg.pg.svc").contains("no certificate"));
        assert!(refused(key, "pg.pg.svc").contains("no certificate"));
        assert!(refused(cut, "pg.pg.svc").contains("PEM"));
        assert!(refused(hollow, "pg.pg.svc").contains("certificate 1"));
        assert!(refused(hollow, "not a name").contains("\"not a name\""));
    }

    /// As `openssl x509 -req` of OpenSSL 3.0 makes it for `/CN=pg.pg.svc`.
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBJjCBzAIUT/sovXaibhvCXFhggAywKj34P1EwCgYIKoZIzj0EAwIwFTETMBEG
A1UEAwwKdGhyb3ctYXdheTAgFw0yNjExMjMxNTIwNTBaGA8yMTI2MTAzMDE1MjA1
MFowFDESMBAGA1UEAwwJcGcucGcuc3ZjMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAElIBq7/kk2Xw5FaoQ4AhZAPsz6DQ8yVZEgSA48qOVRTj5+ZQrJDN9zizKIkOs
E3DFzgsutB8qaNdhTxQvm9M2bjAKBggqhkjOPQQDAgNJADBGAiEAtLrbXKwdn05Z
E9+O/tMQluIvltTf5BSDx31+C8S4RWMCIQCuZlLAz6juI8Sq+1oomP51BtxkSuk1
Br5KKQM7fjZKSg==
-----END CERTIFICATE-----";

    #[test]
    fn a_certificate_of_version_1_passes_where_nothing_is_verified_and_one_of_version_3_is_looked_into() {
        let old = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        assert!(AnyCertificate::opaque(&old));
        let authority = chaos::postgres::Authority::new().unwrap();
        let new = authority.issue("pg.pg.svc").unwrap().certificate;
        assert!(!AnyCertificate::opaque(
            &CertificateDer::from_pem_slice(new.as_bytes()).unwrap()
        ));
    }
}
