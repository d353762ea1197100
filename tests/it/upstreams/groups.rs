//! Which server gets a request.

use clerk_gate::core::requirement::Requirement;
use clerk_gate::upstream::group::Balance;
use http::Method;

use super::*;
use crate::support::log::listen;
use crate::support::route;

#[tokio::test]
async fn servers_are_asked_one_after_the_other() {
    let servers = recording::<3>().await;
    let world = world_before(&servers.each_ref().map(|s| s.address), |_| {}).await;
    for _ in 0..2 {
        for _ in 0..3 {
            assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
        }
        assert_eq!(shares(&servers), [1, 1, 1]);
    }
}

#[tokio::test]
async fn who_has_the_fewest_requests_gets_the_next() {
    let (slow, [quick]) = (WireUpstream::start().await, recording::<1>().await);
    let world = world_before(&[slow.address, quick.address], |config| {
        config.upstreams[0].group.balance = Balance::LeastRequests;
    })
    .await;
    let mut waiting = Wire::connect(world.gate).await;
    waiting.send(get(&world, "/public/slow")).await;
    let mut held = slow.accept().await;
    held.head().await;
    for _ in 0..5 {
        assert_eq!(world.get("/public/x").send().await.body, "upstream");
    }
    assert_eq!(quick.take_received().len(), 5);
    slow.assert_nobody_waits().await;
    held.send(OK).await;
    waiting.head().await;
    waiting.exactly(2).await;
    // Nobody has any now: one after the other again.
    let mut asked = Wire::connect(world.gate).await;
    let mut other = Wire::connect(world.gate).await;
    for client in [&mut asked, &mut other] {
        client.send(get(&world, "/public/x")).await;
    }
    let mut held = slow.accept().await;
    held.head().await;
    assert!(asked_or(&mut asked, &mut other).await.contains("200 OK"));
    assert_eq!(quick.take_received().len(), 1);
}

/// The head of whichever is answered first.
async fn asked_or(one: &mut Wire, other: &mut Wire) -> String {
    tokio::select! {
        head = one.head() => head,
        head = other.head() => head,
    }
}

#[tokio::test]
async fn a_route_goes_to_the_upstream_that_it_names() {
    let [main, invoices] = recording::<2>().await;
    let mut named = route("invoices", &["/invoices/**"], Requirement::Public);
    named.upstream = 1;
    let mut routes = usual_routes();
    routes.push(named);
    let (first, second) = (main.address, invoices.address);
    let world = World::with(routes)
        .configure(move |config| {
            before(config, &[first]);
            let mut other = config.upstreams[0].clone();
            other.name = "invoices".to_owned();
            other.url = origin(second);
            config.upstreams.push(other);
        })
        .start()
        .await;
    world.get("/public/x").send().await;
    world.get("/invoices/7").send().await;
    assert_eq!(main.only().target, "/public/x");
    assert_eq!(invoices.only().target, "/invoices/7");
    let series = format!(
        "clerk_gate_upstream_requests_total{{upstream=\"invoices\",server=\"http://{second}\",outcome=\"2xx\"}}"
    );
    assert!((metric(&world, &series).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn each_server_sees_its_own_host_where_it_is_to() {
    let servers = recording::<2>().await;
    let world = world_before(&servers.each_ref().map(|s| s.address), |config| {
        config.upstreams[0].host = clerk_gate::config::HostHeader::Upstream;
    })
    .await;
    for _ in 0..2 {
        world.get("/public/x").send().await;
    }
    for server in &servers {
        let host = server.only().header("host");
        assert_eq!(host, Some(server.address.to_string()));
    }
}

#[tokio::test]
async fn the_log_names_the_server_that_was_asked() {
    let servers = recording::<2>().await;
    let world = world_before(&servers.each_ref().map(|s| s.address), |_| {}).await;
    let (log, _guard) = listen();
    for path in ["/public/first", "/public/second", "/members"] {
        world.get(path).send().await;
    }
    let text = log.text();
    let line = |path: &str| {
        let wanted = format!("path=\"{path}\"");
        let mut lines = text.lines();
        lines
            .find(|line| line.contains(&wanted))
            .unwrap()
            .to_owned()
    };
    let named = |server: &RecordingUpstream| format!("server=\"http://{}\"", server.address);
    assert!(line("/public/first").contains(&named(&servers[0])));
    assert!(line("/public/second").contains(&named(&servers[1])));
    assert!(!line("/members").contains("server="));
}

#[tokio::test]
async fn what_a_server_has_done_is_on_the_page_of_metrics() {
    let [server] = recording::<1>().await;
    let world = world_before(&[server.address], |_| {}).await;
    server.answers(|asked| {
        let status = asked.target.rsplit('/').next().unwrap().parse().unwrap();
        let answer = http::Response::builder().status::<u16>(status);
        answer.body(bytes::Bytes::new()).unwrap()
    });
    for status in [200, 204, 301, 404, 500, 503] {
        let call = world.request(Method::GET, &format!("/public/{status}"));
        call.send().await;
    }
    for (outcome, count) in [("2xx", 2.0), ("3xx", 1.0), ("4xx", 1.0), ("5xx", 2.0)] {
        let series = format!(
            "clerk_gate_upstream_requests_total{{upstream=\"upstream\",server=\"http://{}\",outcome=\"{outcome}\"}}",
            server.address
        );
        let counted = metric(&world, &series).await;
        assert!(
            (counted - count).abs() < f64::EPSILON,
            "{outcome}: {counted}"
        );
    }
    let series = of_server("clerk_gate_upstream_server_seconds_count", server.address);
    assert!((metric(&world, &series).await - 6.0).abs() < f64::EPSILON);
}
