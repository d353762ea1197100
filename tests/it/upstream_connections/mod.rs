//! How the application is reached: at a socket of the machine, and over TLS by names and certificates
//! of its own.

mod alpn;
mod authority;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clerk_gate::config::{ClientCertificate, UpstreamConfig};
use clerk_gate::core::origin::Origin;
use clerk_gate::upstream::address::ServerAddress;
use http::{Method, StatusCode};
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::support::upstream::RecordingUpstream;
use crate::support::{World, usual_routes};
use authority::{Authority, Issued, Visitors};

/// A place for a file of this test.
fn place(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

/// A recording upstream at a Unix socket.
async fn at_a_socket(name: &str) -> (RecordingUpstream, ServerAddress) {
    let path = place(name);
    let upstream = RecordingUpstream::start().await;
    let listener = UnixListener::bind(&path).unwrap();
    let serving = upstream.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serving.clone().serve(stream));
        }
    });
    (upstream, ServerAddress::Unix(path))
}

#[tokio::test]
async fn an_application_at_a_socket_is_told_what_it_is_told_at_a_port() {
    let (upstream, address) = at_a_socket("same-head.sock").await;
    let mut heads = Vec::new();
    for at_socket in [false, true] {
        let address = address.clone();
        let world = World::with(usual_routes()).configure(move |config| {
            if at_socket {
                config.upstreams[0].url = address;
            }
        });
        let world = world.start().await;
        let session = world.clerk.sign_in("ada", None);
        let call = world
            .request(Method::POST, "/members?x=1")
            .bearer(&session.token)
            .header("host", "localhost")
            .header("x-request-id", "0123456789abcdef")
            .header("x-user-id", "user_forged");
        assert_eq!(call.body("form").send().await.status, StatusCode::OK);
        let told = if at_socket {
            &upstream
        } else {
            &world.upstream
        };
        let mut received = told.only();
        assert_eq!(&received.body[..], b"form");
        assert_ne!(received.header("x-user-id").unwrap(), "user_forged");
        // Sessions and people of two stand-ins have different ids.
        for name in ["x-user-id", "x-session-id", "authorization", "x-org-id"] {
            received.headers.remove(name);
        }
        heads.push((received.method, received.target, received.headers));
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test]
async fn a_socket_without_an_application_is_a_502_with_a_reason() {
    let path = place("nobody.sock");
    drop(UnixListener::bind(&path).unwrap());
    let world = World::with(usual_routes())
        .configure(|config| config.upstreams[0].url = ServerAddress::Unix(path))
        .start()
        .await;
    let answer = world.get("/public/x").send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::BAD_GATEWAY, "upstream-unreachable")
    );
    assert!(!answer.body.contains("nobody.sock"), "{}", answer.body);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_socket_has_the_host_of_this_machine_where_the_application_is_told_its_own() {
    let (upstream, address) = at_a_socket("own-host.sock").await;
    let world = World::with(usual_routes())
        .configure(|config| {
            config.upstreams[0].url = address;
            config.upstreams[0].host = clerk_gate::config::HostHeader::Upstream;
        })
        .start()
        .await;
    assert_eq!(world.get("/").send().await.status, StatusCode::OK);
    assert_eq!(upstream.only().header("host").unwrap(), "localhost");
}

/// A recording upstream over TLS, at a port of this machine. It speaks HTTP/2 where that is agreed upon.
async fn over_tls(config: ServerConfig) -> (RecordingUpstream, ServerAddress) {
    let upstream = RecordingUpstream::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let serving = upstream.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), serving.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => upstream.serve_http2(stream).await,
                    _ => upstream.serve(stream).await,
                }
            });
        }
    });
    let origin = Origin::parse(&format!("https://{address}")).unwrap();
    (upstream, origin.into())
}

/// Asks for a page by way of a gate before `address`.
async fn asked(
    address: ServerAddress,
    change: impl FnOnce(&mut UpstreamConfig) + Send + 'static,
) -> (StatusCode, String) {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.upstreams[0].url = address;
            change(&mut config.upstreams[0]);
        })
        .start()
        .await;
    let answer = world.get("/").send().await;
    (answer.status, answer.body)
}

fn named(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

#[tokio::test]
async fn an_application_is_known_by_the_name_that_its_certificate_shall_have() {
    let authority = Authority::new();
    let issued = authority.issue("app.internal");
    let (upstream, address) = over_tls(issued.server(Visitors::Anybody)).await;
    let ca_file = place("names-ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    for (name, authority, expected) in [
        (Some(named("app.internal")), Some(&ca_file), StatusCode::OK),
        (
            Some(named("other.internal")),
            Some(&ca_file),
            StatusCode::BAD_GATEWAY,
        ),
        // The certificate does not have the address.
        (None, Some(&ca_file), StatusCode::BAD_GATEWAY),
        // Nobody that the system trusts has signed it.
        (Some(named("app.internal")), None, StatusCode::BAD_GATEWAY),
    ] {
        let authority = authority.cloned();
        let (status, body) = asked(address.clone(), |upstream| {
            upstream.server_name = name;
            upstream.ca_file = authority;
        })
        .await;
        assert_eq!(status, expected, "{body}");
        if expected == StatusCode::OK {
            assert_eq!(upstream.take_received().len(), 1);
        } else {
            assert!(body.contains("upstream-unreachable"), "{body}");
            upstream.assert_untouched();
        }
    }
}

#[tokio::test]
async fn an_application_that_wants_to_know_the_gate_is_shown_its_certificate() {
    let authority = Authority::new();
    let issued = authority.issue("app.internal");
    let (upstream, address) = over_tls(issued.server(Visitors::Of(&authority))).await;
    let ca_file = place("shown-ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    let stranger = Authority::new().issue("gate.internal");
    let known = authority.issue("gate.internal");
    for (own, expected) in [
        (Some(&known), StatusCode::OK),
        (Some(&stranger), StatusCode::BAD_GATEWAY),
        (None, StatusCode::BAD_GATEWAY),
    ] {
        let ca_file = ca_file.clone();
        let certificate = own.map(|own| files("shown", own));
        let (status, body) = asked(address.clone(), |upstream| {
            upstream.server_name = Some(named("app.internal"));
            upstream.ca_file = Some(ca_file);
            upstream.client_certificate = certificate;
        })
        .await;
        assert_eq!(status, expected, "{body}");
        if expected == StatusCode::OK {
            assert_eq!(upstream.take_received().len(), 1);
        } else {
            upstream.assert_untouched();
        }
    }
}

/// Writes a certificate and its key into files.
fn files(name: &str, issued: &Issued) -> ClientCertificate {
    let certificate = ClientCertificate {
        cert_file: place(&format!("{name}-cert.pem")),
        key_file: place(&format!("{name}-key.pem")),
    };
    fs::write(&certificate.cert_file, &issued.chain).unwrap();
    fs::write(&certificate.key_file, &issued.key).unwrap();
    certificate
}

#[tokio::test]
async fn certificates_are_read_again_with_the_configuration_and_all_or_nothing() {
    let authority = Authority::new();
    let issued = authority.issue("app.internal");
    let (upstream, address) = over_tls(issued.server(Visitors::Of(&authority))).await;
    let ca_file = place("again-ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    let certificate = files("again", &Authority::new().issue("gate.internal"));
    let written = certificate.clone();
    let world = World::with(usual_routes())
        .configure(|config| {
            let upstream = &mut config.upstreams[0];
            upstream.url = address;
            upstream.server_name = Some(named("app.internal"));
            upstream.ca_file = Some(ca_file);
            upstream.client_certificate = Some(certificate);
        })
        .start()
        .await;
    assert_eq!(world.get("/").send().await.status, StatusCode::BAD_GATEWAY);
    upstream.assert_untouched();

    let known = authority.issue("gate.internal");
    fs::write(&written.cert_file, &known.chain).unwrap();
    let half = world.reloader.change_to(world.config.clone()).unwrap_err();
    let why = format!("{half:#}");
    assert!(why.contains("the certificate is of another key"), "{why}");
    assert_eq!(world.get("/").send().await.status, StatusCode::BAD_GATEWAY);
    upstream.assert_untouched();

    fs::write(&written.key_file, &known.key).unwrap();
    world.reloader.change_to(world.config.clone()).unwrap();
    assert_eq!(world.get("/").send().await.status, StatusCode::OK);
    assert_eq!(upstream.take_received().len(), 1);
}
