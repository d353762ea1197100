//! What is spoken over TLS: what both ends have agreed upon (RFC 7301), and nothing that they have not.

use std::time::Duration;

use clerk_gate::config::Protocol;
use clerk_gate::upstream::health::HealthCheck;
use http::Version;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::*;
use crate::support::waiting::{eventually, in_time};
use crate::support::{Answer, WorldBuilder, cookies};

/// What a server offers, what it likes best first.
type Offers = &'static [&'static [u8]];

const BOTH: Offers = &[b"h2", b"http/1.1"];
const HTTP1_FIRST: Offers = &[b"http/1.1", b"h2"];
const ONLY_HTTP2: Offers = &[b"h2"];
const ONLY_HTTP1: Offers = &[b"http/1.1"];
const NOTHING: Offers = &[];
const OTHERS: Offers = &[b"http/1.0", b"spdy/3.1"];

/// The certificates around an application and the gate before it.
struct Stage {
    authority: Authority,
    ca_file: PathBuf,
    /// By which the application knows the gate.
    own: ClientCertificate,
    /// Of an authority that the application does not know.
    strange: ClientCertificate,
}

impl Stage {
    /// Each test has files of its own.
    fn new(name: &str) -> Self {
        let authority = Authority::new();
        let ca_file = place(&format!("{name}-ca.pem"));
        fs::write(&ca_file, authority.pem()).unwrap();
        Self {
            ca_file,
            own: files(&format!("{name}-own"), &authority.issue("gate.internal")),
            strange: files(
                &format!("{name}-strange"),
                &Authority::new().issue("gate.internal"),
            ),
            authority,
        }
    }

    /// An application that offers this, to everybody or to whom it knows alone.
    fn application(&self, offers: Offers, knows: bool) -> ServerConfig {
        let visitors = if knows {
            Visitors::Of(&self.authority)
        } else {
            Visitors::Anybody
        };
        let mut config = self.authority.issue("app.internal").server(visitors);
        config.alpn_protocols = offers.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// A gate that speaks this to the application, and shows this certificate.
    fn gate(
        &self,
        address: &ServerAddress,
        protocol: Protocol,
        certificate: Option<&ClientCertificate>,
    ) -> WorldBuilder {
        let (address, ca_file) = (address.clone(), self.ca_file.clone());
        let certificate = certificate.cloned();
        World::with(usual_routes()).configure(move |config| {
            let upstream = &mut config.upstreams[0];
            upstream.url = address;
            upstream.protocol = protocol;
            upstream.server_name = Some(named("app.internal"));
            upstream.ca_file = Some(ca_file);
            upstream.client_certificate = certificate;
        })
    }
}

/// An application that never answers, and tells of each connection that was agreed upon what was heard
/// on it until its end.
async fn listening(config: ServerConfig) -> (UnboundedReceiver<Vec<u8>>, ServerAddress) {
    let (to, from) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let mut heard = Vec::new();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read_to_end(&mut heard).await;
                }
                let _ = to.send(heard);
            });
        }
    });
    let origin = Origin::parse(&format!("https://{address}")).unwrap();
    (from, origin.into())
}

/// A page that belongs to whoever is signed in, asked for with a forged identity.
async fn visited(world: &World) -> (Answer, String) {
    let ada = world.clerk.sign_in("ada", None);
    let call = world.get("/members").cookie(&cookies(&ada));
    let answer = call.header("x-user-id", "user_forged").send().await;
    (answer, ada.user_id)
}

#[tokio::test]
async fn an_application_is_spoken_to_in_the_version_that_it_agrees_to() {
    let stage = Stage::new("agreed");
    let mut spoken = 0;
    for (protocol, offers, version) in [
        (Protocol::Http2, BOTH, Version::HTTP_2),
        (Protocol::Http2, HTTP1_FIRST, Version::HTTP_2),
        (Protocol::Http2, ONLY_HTTP2, Version::HTTP_2),
        // Who is spoken to in HTTP/1.1 need not agree to anything.
        (Protocol::Http1, BOTH, Version::HTTP_11),
        (Protocol::Http1, HTTP1_FIRST, Version::HTTP_11),
        (Protocol::Http1, ONLY_HTTP1, Version::HTTP_11),
        (Protocol::Http1, NOTHING, Version::HTTP_11),
    ] {
        for knows in [false, true] {
            let (upstream, address) = over_tls(stage.application(offers, knows)).await;
            let own = knows.then_some(&stage.own);
            let world = stage.gate(&address, protocol, own).start().await;
            let (answer, user) = visited(&world).await;
            assert_eq!(answer.body, "upstream", "{protocol:?} {offers:?} {knows}");
            let received = upstream.only();
            assert_eq!(received.version, version, "{offers:?}");
            assert_eq!(received.header("x-user-id"), Some(user));
            let scheme = received.target.split_once("://").map(|(scheme, _)| scheme);
            let secure = (version == Version::HTTP_2).then_some("https");
            assert_eq!(scheme, secure, "{}", received.target);
            spoken += 1;
        }
    }
    assert_eq!(spoken, 14);
}

#[tokio::test]
async fn an_application_that_does_not_agree_to_http_2_hears_nothing_at_all() {
    let stage = Stage::new("not-agreed");
    let mut refused = 0;
    for offers in [ONLY_HTTP1, NOTHING, OTHERS] {
        for knows in [false, true] {
            let (mut heard, address) = listening(stage.application(offers, knows)).await;
            let own = knows.then_some(&stage.own);
            let world = stage.gate(&address, Protocol::Http2, own).start().await;
            let (answer, _) = visited(&world).await;
            let outcome = (answer.status, answer.code());
            let expected = (StatusCode::BAD_GATEWAY, "upstream-protocol".to_owned());
            assert_eq!(outcome, expected, "{offers:?} {knows}");
            assert_eq!(in_time(heard.recv()).await.unwrap(), b"", "{offers:?}");
            assert!(heard.try_recv().is_err(), "a second connection: {offers:?}");
            refused += 1;
        }
    }
    assert_eq!(refused, 6);
}

#[tokio::test]
async fn an_application_in_http_2_is_asked_by_nobody_whom_it_does_not_know() {
    let stage = Stage::new("unknown");
    let (upstream, address) = over_tls(stage.application(BOTH, true)).await;
    for (certificate, status) in [
        (None, StatusCode::BAD_GATEWAY),
        (Some(&stage.strange), StatusCode::BAD_GATEWAY),
        (Some(&stage.own), StatusCode::OK),
    ] {
        let gate = stage.gate(&address, Protocol::Http2, certificate);
        let (answer, _) = visited(&gate.start().await).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        if status == StatusCode::OK {
            assert_eq!(upstream.only().version, Version::HTTP_2);
        } else {
            assert_eq!(answer.code(), "upstream-unreachable");
            upstream.assert_untouched();
        }
    }
}

#[tokio::test]
async fn an_application_in_http_2_has_the_name_and_the_authority_that_it_shall_have() {
    let stage = Stage::new("names");
    let (mut heard, address) = listening(stage.application(BOTH, false)).await;
    let other = Stage::new("names-other").ca_file;
    let gate = || stage.gate(&address, Protocol::Http2, None);
    for world in [
        gate().configure(|config| config.upstreams[0].ca_file = None),
        gate().configure(|config| config.upstreams[0].ca_file = Some(other)),
        gate().configure(|config| config.upstreams[0].server_name = None),
        gate().configure(|config| {
            config.upstreams[0].server_name = Some(named("other.internal"));
        }),
    ] {
        let (answer, _) = visited(&world.start().await).await;
        let outcome = (answer.status, answer.code());
        let expected = (StatusCode::BAD_GATEWAY, "upstream-unreachable".to_owned());
        assert_eq!(outcome, expected);
        assert_eq!(in_time(heard.recv()).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_websocket_goes_to_an_application_in_http_2_only_where_it_agrees_to_http_1_too() {
    let stage = Stage::new("websocket");
    for (offers, status) in [
        (BOTH, StatusCode::OK),
        (HTTP1_FIRST, StatusCode::OK),
        (NOTHING, StatusCode::BAD_GATEWAY),
        (ONLY_HTTP2, StatusCode::BAD_GATEWAY),
    ] {
        let (upstream, address) = over_tls(stage.application(offers, true)).await;
        let gate = stage.gate(&address, Protocol::Http2, Some(&stage.own));
        let world = gate.start().await;
        let call = world
            .get("/public/socket")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{offers:?}: {}", answer.body);
        if status == StatusCode::OK {
            let received = upstream.only();
            assert_eq!(received.version, Version::HTTP_11);
            assert_eq!(received.header("upgrade").as_deref(), Some("websocket"));
        } else {
            assert_eq!(answer.code(), "upstream-protocol");
            upstream.assert_untouched();
        }
    }
}

#[tokio::test]
async fn checks_of_health_agree_like_requests() {
    let stage = Stage::new("checks");
    let rule = || HealthCheck {
        path: "/healthz".parse().unwrap(),
        host: None,
        interval: Duration::from_hours(1),
        timeout: Duration::from_secs(15),
        expect: vec![200],
        healthy: 1,
        unhealthy: 1,
    };
    let checked = |address: &ServerAddress| {
        let gate = stage.gate(address, Protocol::Http2, Some(&stage.own));
        gate.configure(move |config| config.upstreams[0].group.health = Some(rule()))
    };
    let (upstream, address) = over_tls(stage.application(BOTH, true)).await;
    let _world = checked(&address).start().await;
    eventually("a check", || !upstream.received().is_empty()).await;
    let received = upstream.only();
    assert_eq!(received.version, Version::HTTP_2);
    assert!(received.target.starts_with("https://"), "{received:?}");
    let (mut heard, address) = listening(stage.application(ONLY_HTTP1, true)).await;
    let _world = checked(&address).start().await;
    assert_eq!(in_time(heard.recv()).await.unwrap(), b"");
}
