//! The one choice of cryptography: rustls with aws-lc-rs, and the roots that are trusted.

pub mod server;
mod validity;

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

pub use validity::{Trouble, Validity};

/// Certificates trusted beside those of the system, in PEM.
#[derive(Clone, Debug, Default)]
pub struct ExtraRoots(pub Vec<u8>);

/// Who the gate is to a server that asks for a certificate: chain and key, in PEM.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate, and those that lead from it to an authority.
    pub chain: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

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
    with_roots(roots(extra)?, None)
}

/// The same, for a server that may ask who the gate is.
///
/// Fails too if the certificate and the key are none, or do not belong together.
pub fn client_config_as(
    identity: &ClientIdentity,
    extra: &ExtraRoots,
) -> io::Result<Arc<ClientConfig>> {
    with_roots(roots(extra)?, Some(identity))
}

/// A client configuration that trusts nobody: for addresses that are in plain text.
pub fn client_config_without_roots() -> io::Result<Arc<ClientConfig>> {
    with_roots(RootCertStore::empty(), None)
}

/// A client of HTTP that goes where it is told and nowhere else: it follows no redirect, and takes no proxy
/// from the environment.
pub fn http_client(tls: &ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("clerk-gate/", env!("CARGO_PKG_VERSION")))
}

fn roots(extra: &ExtraRoots) -> io::Result<RootCertStore> {
    let mut roots = SYSTEM_ROOTS.clone();
    if !extra.0.is_empty() {
        for certificate in certificates(&extra.0)? {
            roots.add(certificate).map_err(unusable)?;
        }
    }
    Ok(roots)
}

fn with_roots(
    roots: RootCertStore,
    identity: Option<&ClientIdentity>,
) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| io::Error::other(error.to_string()))?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.chain)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|_| unusable("there is no private key in the file of its key"))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        unusable("the certificate is of another key")
                    }
                    error => unusable(error),
                })?
        }
    };
    Ok(Arc::new(config))
}

/// The certificates in a file; at least one.
fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(unusable)?;
    if certificates.is_empty() {
        return Err(unusable("no certificate in the file"));
    }
    Ok(certificates)
}

fn unusable(why: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
