//! TLS from clients: by name, by version, by certificate; and how it changes while the gate runs.

pub mod expiry;
mod redirect;

use std::sync::Arc;
use std::time::Duration;

use clerk_gate::config::Config;
use clerk_gate::tls::server::{Authorities, Certificate, Clients, Oldest, Terms};
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::frames::PREFACE;
use crate::support::http2::Connection;
use crate::support::waiting::{DEADLINE, in_time};
use crate::support::wire::Wire;
use crate::support::{World, WorldBuilder, cookies, usual_routes};

/// An authority, and what it has signed.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A certificate for these names and its key, in PEM.
    pub fn signs(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub fn certifies(&self, names: &[&str]) -> Certificate {
        let (chain, key) = self.signs(names);
        Certificate::of(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    fn authorities(&self) -> Authorities {
        Authorities::of(self.0.pem().into_bytes()).unwrap()
    }

    /// What trusts it.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<(String, String)>,
        protocols: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    pub fn plain_client(&self) -> Arc<ClientConfig> {
        self.client(&[&TLS13, &TLS12], None, &[])
    }
}

pub fn terms(certificates: Vec<Certificate>) -> Terms {
    Terms {
        certificates,
        oldest: Oldest::Tls12,
        clients: Clients::Unasked,
    }
}

pub fn behind(terms: Terms) -> WorldBuilder {
    World::with(usual_routes()).configure(|config| config.tls = Some(terms))
}

pub async fn agree(
    world: &World,
    client: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.gate).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    in_time(TlsConnector::from(Arc::clone(client)).connect(name, stream)).await
}

/// Asks over HTTP/1.1 and gives all that is heard. A connection that fails says nothing.
async fn ask(
    world: &World,
    stream: &mut TlsStream<TcpStream>,
    target: &str,
    lines: &str,
) -> String {
    let port = world.gate.port();
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n{lines}\r\n"
    );
    let _ = stream.write_all(request.as_bytes()).await;
    let mut heard = Vec::new();
    let _ = in_time(stream.read_to_end(&mut heard)).await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_request_over_tls_is_one_over_https_in_either_version() {
    let authority = Authority::new();
    let world = behind(terms(vec![authority.certifies(&["localhost"])]))
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let mut stream = agree(&world, &authority.plain_client(), "localhost")
        .await
        .unwrap();
    let lines = format!("cookie: {}\r\n", cookies(&ada));
    let heard = ask(&world, &mut stream, "/members", &lines).await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    let client = authority.client(&[&TLS13], None, &[b"h2", b"http/1.1"]);
    let stream = agree(&world, &client, "localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let own = format!("localhost:{}", world.gate.port());
    let mut connection = Connection::over(stream, &own, "https").await;
    let mut request = connection.get("/members");
    request
        .headers_mut()
        .insert("cookie", cookies(&ada).parse().unwrap());
    assert_eq!(connection.ask(request).await.status, StatusCode::OK);
    let received = world.upstream.received();
    assert_eq!(received.len(), 2);
    for one in received {
        assert_eq!(one.header("x-forwarded-proto").unwrap(), "https");
        assert_eq!(one.header("x-user-id").unwrap(), ada.user_id);
    }
}

#[tokio::test]
async fn a_redirect_of_a_page_load_over_tls_comes_back_over_https() {
    let authority = Authority::new();
    let world = behind(terms(vec![authority.certifies(&["localhost"])]))
        .start()
        .await;
    let mut stream = agree(&world, &authority.plain_client(), "localhost")
        .await
        .unwrap();
    let lines = "accept: text/html\r\nsec-fetch-dest: document\r\n";
    let heard = ask(&world, &mut stream, "/members", lines).await;
    assert!(heard.starts_with("HTTP/1.1 307 "), "{heard}");
    let back = format!(
        "redirect_url=https%3A%2F%2Flocalhost%3A{}",
        world.gate.port()
    );
    assert!(heard.contains(&back), "{heard}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn http_2_is_offered_unless_it_is_switched_off() {
    let authority = Authority::new();
    for (enabled, offered, agreed) in [
        (true, &[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (true, &[b"http/1.1"], Some(b"http/1.1")),
        (true, &[], None),
        (false, &[b"h2", b"http/1.1"], Some(b"http/1.1")),
    ] {
        let world = behind(terms(vec![authority.certifies(&["localhost"])]))
            .configure(move |config| config.http2.enabled = enabled)
            .start()
            .await;
        let client = authority.client(&[&TLS13], None, offered);
        let stream = agree(&world, &client, "localhost").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
    }
}

#[tokio::test]
async fn each_name_gets_its_certificate_and_any_other_the_first() {
    let (one, two, three) = (Authority::new(), Authority::new(), Authority::new());
    let certificates = vec![
        one.certifies(&["localhost"]),
        two.certifies(&["app.example", "www.app.example"]),
        three.certifies(&["*.shop.example"]),
    ];
    let world = behind(terms(certificates)).start().await;
    for (authority, name) in [
        (&one, "localhost"),
        (&two, "app.example"),
        (&two, "www.app.example"),
        (&three, "a.shop.example"),
    ] {
        assert!(
            agree(&world, &authority.plain_client(), name).await.is_ok(),
            "{name}"
        );
    }
    // The first is shown, and is of another name.
    for name in [
        "shop.example",
        "a.b.shop.example",
        "other.example",
        "127.0.0.1",
    ] {
        for authority in [&one, &two, &three] {
            assert!(
                agree(&world, &authority.plain_client(), name)
                    .await
                    .is_err(),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn the_very_name_counts_before_one_with_a_star_in_either_order() {
    let (star, exact, both) = (Authority::new(), Authority::new(), Authority::new());
    let certificates = || {
        [
            star.certifies(&["*.shop.example"]),
            exact.certifies(&["a.shop.example", "A2.Shop.Example"]),
            both.certifies(&["*.shop.example", "b.shop.example"]),
        ]
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let [one, two, three] = order.map(|place: usize| certificates()[place].clone());
        let world = behind(terms(vec![one, two, three])).start().await;
        // Of two that fit equally well, the first.
        let by_star = if order[0] == 2 { &both } else { &star };
        for (shown, name) in [
            (&exact, "a.shop.example"),
            (&exact, "A.shop.example"),
            (&exact, "a2.shop.example"),
            (&both, "b.shop.example"),
            (by_star, "c.shop.example"),
        ] {
            for authority in [&star, &exact, &both] {
                let agreed = agree(&world, &authority.plain_client(), name).await;
                let meant = std::ptr::eq(authority, shown);
                assert_eq!(agreed.is_ok(), meant, "{name} of {order:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_old_version_is_refused_where_it_is_said() {
    let authority = Authority::new();
    for (oldest, accepted) in [(Oldest::Tls12, true), (Oldest::Tls13, false)] {
        let terms = Terms {
            oldest,
            ..terms(vec![authority.certifies(&["localhost"])])
        };
        let world = behind(terms).start().await;
        let old = authority.client(&[&TLS12], None, &[]);
        assert_eq!(agree(&world, &old, "localhost").await.is_ok(), accepted);
        let new = authority.client(&[&TLS13], None, &[]);
        assert!(agree(&world, &new, "localhost").await.is_ok());
    }
}

#[tokio::test]
async fn whoever_has_to_show_a_certificate_and_cannot_asks_nothing() {
    let (authority, members, strangers) = (Authority::new(), Authority::new(), Authority::new());
    for version in [&TLS12, &TLS13] {
        for (required, identity, answered) in [
            (true, None, false),
            (true, Some(&strangers), false),
            (true, Some(&members), true),
            (false, None, true),
            (false, Some(&strangers), false),
            (false, Some(&members), true),
        ] {
            let authorities = members.authorities();
            let clients = if required {
                Clients::Required(authorities)
            } else {
                Clients::Optional(authorities)
            };
            let terms = Terms {
                clients,
                ..terms(vec![authority.certifies(&["localhost"])])
            };
            let world = behind(terms).start().await;
            let identity = identity.map(|authority| authority.signs(&["client.example"]));
            let client = authority.client(&[version], identity, &[]);
            let heard = match agree(&world, &client, "localhost").await {
                Ok(mut stream) => ask(&world, &mut stream, "/public/x", "").await,
                Err(_) => String::new(),
            };
            assert_eq!(heard.starts_with("HTTP/1.1 200 "), answered, "{heard}");
            assert_eq!(world.upstream.received().len(), usize::from(answered));
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_or_never_ends_is_cut_off() {
    let authority = Authority::new();
    let world = behind(terms(vec![authority.certifies(&["localhost"])]))
        .configure(|config| config.limits.head_timeout = Duration::from_millis(400))
        .start()
        .await;
    for beginning in [
        &b"GET /public/x HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        PREFACE,
        b"\x16\x03\x01\x02\x00\x01",
        b"",
    ] {
        let mut wire = Wire::connect(world.gate).await;
        wire.send(beginning).await;
        assert!(wire.closes_within(DEADLINE).await, "{beginning:?}");
    }
    let mut stream = agree(&world, &authority.plain_client(), "localhost")
        .await
        .unwrap();
    assert!(in_time(stream.read(&mut [0; 16])).await.unwrap_or(0) == 0);
    world.upstream.assert_untouched();
}

fn changed(world: &World, change: impl FnOnce(&mut Config)) {
    let mut config = world.config.clone();
    change(&mut config);
    world.reloader.change_to(config).unwrap();
}

#[tokio::test]
async fn other_certificates_count_from_the_next_connection_on_and_close_none() {
    let (old, new) = (Authority::new(), Authority::new());
    let world = behind(terms(vec![old.certifies(&["localhost"])]))
        .start()
        .await;
    let mut open = agree(&world, &old.plain_client(), "localhost")
        .await
        .unwrap();
    let next = new.certifies(&["localhost"]);
    changed(&world, |config| config.tls = Some(terms(vec![next])));
    assert!(
        agree(&world, &old.plain_client(), "localhost")
            .await
            .is_err()
    );
    assert!(
        agree(&world, &new.plain_client(), "localhost")
            .await
            .is_ok()
    );
    let heard = ask(&world, &mut open, "/public/x", "").await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
}

/// Whether a client that has been there takes its session up again, after this change.
async fn resumes(version: &'static SupportedProtocolVersion, change: impl Fn(&mut Config)) -> bool {
    let authority = Authority::new();
    let world = behind(terms(vec![authority.certifies(&["localhost"])]))
        .start()
        .await;
    let client = authority.client(&[version], None, &[]);
    let mut first = agree(&world, &client, "localhost").await.unwrap();
    ask(&world, &mut first, "/public/x", "").await;
    assert_eq!(
        first.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Full)
    );
    changed(&world, change);
    let mut second = agree(&world, &client, "localhost").await.unwrap();
    ask(&world, &mut second, "/public/x", "").await;
    second.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[tokio::test]
async fn sessions_outlive_a_change_unless_other_clients_are_asked_for_certificates() {
    for version in [&TLS12, &TLS13] {
        assert!(resumes(version, |config| config.debug_headers = true).await);
        let authority = Authority::new();
        let asked = Clients::Optional(authority.authorities());
        let change = |config: &mut Config| {
            config.tls.as_mut().unwrap().clients = asked.clone();
        };
        assert!(!resumes(version, change).await);
    }
}

#[tokio::test]
async fn tls_is_neither_begun_nor_ended_while_the_gate_runs() {
    let authority = Authority::new();
    let world = World::start().await;
    let mut config = world.config.clone();
    config.tls = Some(terms(vec![authority.certifies(&["localhost"])]));
    let error = world.reloader.change_to(config).unwrap_err();
    assert!(
        error.to_string().contains("whether there is `[tls]`"),
        "{error}"
    );
    let answer = world.get("/public/x").send().await;
    assert_eq!(answer.status, StatusCode::OK);
}
