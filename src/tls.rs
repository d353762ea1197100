//! The one choice of cryptography: rustls with aws-lc-rs, and the roots that are trusted.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Certificates trusted beside those of the system, in PEM.
#[derive(Clone, Debug, Default)]
pub struct ExtraRoots(pub Vec<u8>);

/// The certificates of the system, or Mozilla's where it has none. Read once: that takes a while.
static SYSTEM_ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
});

/// A client configuration that trusts the system's certificates, or Mozilla's where the system
/// has none, and `extra`.
///
/// Fails if `extra` holds no certificate though it is not empty.
pub fn client_config(extra: &ExtraRoots) -> io::Result<Arc<ClientConfig>> {
    let mut roots = SYSTEM_ROOTS.clone();
    if !extra.0.is_empty() {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&extra.0).collect();
        let certificates = certificates
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        if certificates.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no certificate in the file",
            ));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        }
    }
    with_roots(roots)
}

/// A client configuration that trusts nobody: for addresses that are in plain text.
pub fn client_config_without_roots() -> io::Result<Arc<ClientConfig>> {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| io::Error::other(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
