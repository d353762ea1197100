//! TLS towards clients: which certificate for which name, from which version on, and who has to show one.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use webpki::EndEntityCert;

use super::{Trouble, Validity, certificates, unusable};

/// Sessions that can be taken up again.
const SESSIONS: usize = 10_000;

/// A certificate, those that lead from it to an authority, and its key.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// The names in it, in lower case, those with `*.` among them.
    names: Arc<[String]>,
    validity: Option<Validity>,
}

/// The version that TLS begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// They are not asked.
    Unasked,
    /// They are asked, and may have none. One of another authority is refused.
    Optional(Authorities),
    /// They have to.
    Required(Authorities),
}

/// Who may vouch for clients.
#[derive(Clone, Debug)]
pub struct Authorities {
    pem: Vec<u8>,
    roots: Arc<RootCertStore>,
}

/// How the gate speaks TLS.
#[derive(Clone, Debug)]
pub struct Terms {
    /// At least one. The first is for clients that name no host, or none of theirs.
    pub certificates: Vec<Certificate>,
    /// The version that it begins at.
    pub oldest: Oldest,
    /// Whom it asks for a certificate.
    pub clients: Clients,
}

/// Sessions that clients may take up again instead of beginning anew.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<dyn StoresServerSessions>);

impl Certificate {
    /// A certificate and its key, in PEM. Fails if either is none, or if they do not belong together.
    pub fn of(chain: &[u8], key: &[u8]) -> io::Result<Self> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| unusable("there is no private key in the file of its key"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => unusable("the certificate is of another key"),
            error => unusable(error),
        })?;
        let shown = key.end_entity_cert().map_err(unusable)?;
        let validity = Validity::of(shown);
        let shown = EndEntityCert::try_from(shown).map_err(unusable)?;
        let names = shown.valid_dns_names().map(str::to_ascii_lowercase);
        let names = names.collect();
        Ok(Self {
            key: Arc::new(key),
            names,
            validity,
        })
    }

    /// When it is valid, those that lead from it to an authority left aside; `None` if it does not say so.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }

    /// What is to be said of it at this moment, in milliseconds since the epoch, if it does not hold, or not for
    /// long.
    pub fn trouble_at(&self, now_ms: u64) -> Option<Trouble> {
        match self.validity {
            Some(validity) => validity.trouble_at(now_ms),
            None => Some(Trouble::unreadable()),
        }
    }

    /// The names in it, in lower case, those with `*.` among them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it has exactly this name, and not only one with `*.` that fits.
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let certificate = self
            .key
            .end_entity_cert()
            .and_then(ParsedCertificate::try_from);
        certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
    }
}

impl Authorities {
    /// The authorities of a file in PEM; at least one.
    pub fn of(pem: Vec<u8>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&pem)? {
            roots.add(certificate).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        Ok(Self { pem, roots })
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for Authorities {}

impl Default for Sessions {
    fn default() -> Self {
        Self(ServerSessionMemoryCache::new(SESSIONS))
    }
}

/// A server configuration on these terms, in which `sessions` can be taken up again. `protocols` are what
/// it offers to speak, best first.
pub fn server_config(
    terms: &Terms,
    sessions: &Sessions,
    protocols: &[&[u8]],
) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = match terms.oldest {
        Oldest::Tls12 => &[&TLS13, &TLS12][..],
        Oldest::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(unusable)?;
    let verifier = |authorities: &Authorities| {
        let roots = Arc::clone(&authorities.roots);
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
    };
    let builder = match &terms.clients {
        Clients::Unasked => builder.with_no_client_auth(),
        Clients::Optional(authorities) => {
            let verifier = verifier(authorities).allow_unauthenticated();
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
        Clients::Required(authorities) => {
            let verifier = verifier(authorities).build().map_err(unusable)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let by_name = ByName(terms.certificates.clone());
    let mut config = builder.with_cert_resolver(Arc::new(by_name));
    config.session_storage = Arc::clone(&sessions.0);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Certificates, of which one is shown that has the name itself, or else the first that has one with `*.` that fits.
#[derive(Debug)]
struct ByName(Vec<Certificate>);

impl ByName {
    /// The one that is for this name.
    fn named(&self, text: &str) -> Option<&Certificate> {
        let name = ServerName::try_from(text).ok()?;
        let mut known = self.0.iter();
        // Names are compared first: whether one fits takes a look at the whole certificate.
        let exact = known.find(|known| known.has(text) && known.is_for(&name));
        exact.or_else(|| self.0.iter().find(|known| known.is_for(&name)))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = hello.server_name().and_then(|name| self.named(name));
        let shown = shown.or(self.0.first())?;
        Some(Arc::clone(&shown.key))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
