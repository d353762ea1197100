//! Connections by what is spoken on them.

use crate::support::frames::PREFACE;
use crate::support::http2::Connection;
use crate::support::waiting::in_time;
use crate::support::wire::{Wire, WireUpstream};
use crate::tls::{Authority, agree, behind, terms};

use super::readings::{tunnel, until};
use super::*;

/// What is open, and what ever was: HTTP/1.1 without and with TLS, and then HTTP/2.
type Counts = [f64; 4];

fn counts(page: &Page, metric: &str) -> Counts {
    let of = |protocol: &str, tls: &str| {
        let series = format!("{metric}{{protocol=\"{protocol}\",tls=\"{tls}\"}}");
        assert!(page.series().contains(series.as_str()), "{series}");
        page.value(&series)
    };
    [
        of("http/1.1", "no"),
        of("http/1.1", "yes"),
        of("h2", "no"),
        of("h2", "yes"),
    ]
}

fn open(page: &Page) -> Counts {
    counts(page, "clerk_gate_protocol_connections")
}

fn ever(page: &Page) -> Counts {
    counts(page, "clerk_gate_accepted_protocol_connections_total")
}

#[tokio::test]
async fn connections_without_tls_are_counted_by_how_they_begin() {
    let world = builder()
        .configure(|config| config.http2.cleartext = true)
        .start()
        .await;
    let mut one = Wire::connect(world.gate).await;
    one.send("GET /open HTTP/1.1\r\n").await;
    let two = Connection::open(world.gate).await;
    let mut half = Wire::connect(world.gate).await;
    half.send(&PREFACE[..10]).await;
    let silent = Wire::connect(world.gate).await;
    let doors = Wire::connect(world.doors.unwrap()).await;
    let checking = Connection::open(world.check.unwrap()).await;
    // Of those that have not said enough, and of those to other listeners, nothing is counted here.
    until(&world, |page| {
        open(page) == [1.0, 0.0, 1.0, 0.0]
            && page.value(r#"clerk_gate_connections{listener="proxy"}"#) == 4.0
            && page.value(r#"clerk_gate_connections{listener="forward-auth"}"#) == 1.0
            && page.value(r#"clerk_gate_connections{listener="ext-authz"}"#) == 1.0
    })
    .await;
    drop((one, two, half, silent, doors, checking));
    until(&world, |page| {
        open(page) == [0.0; 4] && page.value(r#"clerk_gate_connections{listener="proxy"}"#) == 0.0
    })
    .await;
    // Who has left with half of it said is taken for one of HTTP/1.1, and who has said nothing for none.
    let page = Page::of(&world).await;
    assert_eq!(ever(&page), [2.0, 0.0, 1.0, 0.0]);
    let accepted = r#"clerk_gate_accepted_connections_total{listener="proxy"}"#;
    assert_eq!(page.value(accepted), 4.0);
}

#[tokio::test]
async fn where_no_http_2_is_taken_without_tls_a_connection_is_of_http_1_from_the_start() {
    let world = builder().start().await;
    let silent = Wire::connect(world.gate).await;
    until(&world, |page| open(page) == [1.0, 0.0, 0.0, 0.0]).await;
    drop(silent);
    until(&world, |page| open(page) == [0.0; 4]).await;
}

#[tokio::test]
async fn connections_over_tls_are_counted_by_what_is_agreed_on() {
    let authority = Authority::new();
    let world = behind(terms(vec![authority.certifies(&["localhost"])]))
        .start()
        .await;
    let client =
        |protocols: &[&[u8]]| authority.client(&[&rustls::version::TLS13], None, protocols);
    let one = agree(&world, &client(&[]), "localhost").await.unwrap();
    let other = agree(&world, &client(&[b"http/1.1"]), "localhost").await;
    let two = agree(&world, &client(&[b"h2", b"http/1.1"]), "localhost").await;
    // Who agrees on nothing counts at the listener alone.
    let stranger = Authority::new().plain_client();
    assert!(agree(&world, &stranger, "localhost").await.is_err());
    until(&world, |page| open(page) == [0.0, 2.0, 0.0, 1.0]).await;
    drop((one, other, two));
    until(&world, |page| open(page) == [0.0; 4]).await;
    let page = Page::of(&world).await;
    assert_eq!(ever(&page), [0.0, 2.0, 0.0, 1.0]);
    let accepted = r#"clerk_gate_accepted_connections_total{listener="proxy"}"#;
    assert_eq!(page.value(accepted), 4.0);
}

#[tokio::test]
async fn a_tunnel_is_a_connection_of_what_it_began_as_until_it_ends() {
    let upstream = WireUpstream::start().await;
    let world = builder().before(upstream.address).start().await;
    let (client, server) = tunnel(&world, &upstream, "/open/socket", "").await;
    until(&world, |page| page.value("clerk_gate_tunnels") == 1.0).await;
    assert_eq!(open(&Page::of(&world).await), [1.0, 0.0, 0.0, 0.0]);
    drop((client, server));
    in_time(until(&world, |page| open(page) == [0.0; 4])).await;
}
