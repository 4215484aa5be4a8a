//! The cluster's own certificate authority, the certificates of its components and users, and the key that signs service
//! account tokens. All of it is thrown away with the cluster.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::Error;
use super::layout::{Layout, write};

/// The authority. It lives in memory only: once the certificates of a cluster are written, nobody can make another.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// Whom a certificate names, as Kubernetes reads it.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    /// File name, without extension, and the name in the state directory.
    pub(crate) file: &'a str,
    /// The user (common name).
    pub(crate) user: &'a str,
    /// The group (organisation), if any.
    pub(crate) group: Option<&'a str>,
    /// Host names and addresses that a server answers to.
    pub(crate) hosts: Vec<String>,
}

impl Authority {
    /// Makes the authority and writes its certificate, `ca.crt`.
    pub(crate) fn create(layout: &Layout) -> Result<Self, Error> {
        let failed = |source| Error::Certificate {
            who: "the authority".to_owned(),
            source,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = named("pgsteer-chaos-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed)?;
        let authority = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        write(&layout.pki("ca.crt"), authority.pem())?;
        Ok(Self(authority))
    }

    /// Makes a key and a certificate for both ends of a connection and writes them.
    pub(crate) fn issue(&self, layout: &Layout, subject: &Subject<'_>) -> Result<(), Error> {
        let failed = |source| Error::Certificate {
            who: subject.user.to_owned(),
            source,
        };
        let mut params = CertificateParams::new(subject.hosts.clone()).map_err(failed)?;
        params.distinguished_name = named(subject.user, subject.group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.0).map_err(failed)?;
        write(&layout.pki(&format!("{}.crt", subject.file)), certificate.pem())?;
        write_secret(layout, &format!("{}.key", subject.file), &key)
    }
}

/// Makes the key pair of service account tokens: `sa.key` signs, `sa.pub` checks.
pub(crate) fn create_token_key(layout: &Layout) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(|source| Error::Certificate {
        who: "service accounts".to_owned(),
        source,
    })?;
    write(&layout.pki("sa.pub"), key.public_key_pem())?;
    write_secret(layout, "sa.key", &key)
}

fn write_secret(layout: &Layout, file: &str, key: &KeyPair) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let path = layout.pki(file);
    write(&path, key.serialize_pem())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::io("set the rights of", &path))
}

fn named(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}
