//! A certificate authority for servers under TLS; it lives as long as the test.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::Error;

/// An authority that vouches for throw-away servers.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// What a server shows: a certificate and its key, both PEM. The key is worth nothing outside the test.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// What everybody may see.
    pub certificate: String,
    /// What the server alone has.
    pub key: String,
}

impl Authority {
    /// A new authority; no two vouch for each other.
    pub fn new() -> Result<Self, Error> {
        let failed = |source| Error::Certificate {
            name: "the authority".to_owned(),
            source,
        };
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "throw-away authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(failed)
    }

    /// Its own certificate, PEM: what clients are given as root.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server of this DNS name or IP address.
    pub fn issue(&self, name: &str) -> Result<Certificate, Error> {
        let failed = |source| Error::Certificate {
            name: name.to_owned(),
            source,
        };
        let mut params = CertificateParams::new([name.to_owned()]).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.0).map_err(failed)?;
        Ok(Certificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}
