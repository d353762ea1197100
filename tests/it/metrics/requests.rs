//! What became of requests.

use super::*;
use crate::doors;

#[tokio::test]
async fn requests_are_counted_by_route_decision_and_reason() {
    let world = builder().start().await;
    let ada = world.clerk.sign_in("ada", None);
    for call in [
        world.get("/open/1"),
        world.get("/open/2"),
        world.get("/members/1").bearer(&ada.token),
        world.get("/members/2"),
        world.visit("/members/3"),
        world.get("/elsewhere"),
        world.get("/_gate/unauthorized"),
        world.get("/_gate/nowhere"),
        world.get("/%zz"),
        world.get("/open/3").header("host", "other.example"),
        world.get("/__clerk/v1/client"),
    ] {
        call.send().await;
    }
    let page = Page::of(&world).await;
    let of = |route: &str, decision: &str, reason: &str, count: f64| {
        let labels = format!(r#"route="{route}",decision="{decision}",reason="{reason}""#);
        (labels, count)
    };
    let mut expected = vec![
        of("open", "forward", "dev-browser-missing", 2.0),
        of("members", "forward", "none", 1.0),
        of("members", "refuse", "dev-browser-missing", 1.0),
        of("members", "redirect", "dev-browser-missing", 1.0),
        of("(everything else)", "refuse", "dev-browser-missing", 1.0),
        of("(own pages)", "page", "none", 1.0),
        of("(own pages)", "refuse", "page-unknown", 1.0),
        of("(unread)", "refuse", "path-malformed", 1.0),
        of("(unread)", "refuse", "host-not-served", 1.0),
        of("(no route)", "relay", "none", 1.0),
    ];
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(page.of_metric("clerk_gate_decisions_total"), expected);
    assert_eq!(world.upstream.received().len(), 3);
}

#[tokio::test]
async fn answers_are_counted_by_mode_and_status_and_verdicts_are_timed() {
    let world = builder().start().await;
    world.get("/open/1").send().await;
    world.get("/%zz").send().await;
    for dialect in Dialect::ALL {
        doors::ask(&world, dialect, "GET", "/open/1").send().await;
        doors::ask(&world, dialect, "GET", "/open/2").send().await;
        doors::ask(&world, dialect, "GET", "/members/1")
            .send()
            .await;
        doors::ask(&world, dialect, "GET", "/%zz").send().await;
    }
    for path in ["/open/1", "/open/2", "/members/1", "/%zz"] {
        Ask::at(&world, "GET", path).send(&world).await;
    }
    let page = Page::of(&world).await;
    for (mode, [well, unread, refused]) in [
        ("proxy", [1.0, 1.0, 0.0]),
        ("nginx", [2.0, 1.0, 1.0]),
        ("traefik", [2.0, 1.0, 1.0]),
        ("caddy", [2.0, 1.0, 1.0]),
        ("haproxy", [2.0, 1.0, 1.0]),
        ("envoy", [2.0, 1.0, 1.0]),
        ("ext-authz", [2.0, 1.0, 1.0]),
    ] {
        let answers = |status: u16| {
            let series = format!(r#"clerk_gate_requests_total{{mode="{mode}",status="{status}"}}"#);
            page.value(&series)
        };
        assert_eq!(
            [200, 400, 401].map(answers),
            [well, unread, refused],
            "{mode}"
        );
        let verdicts = format!(r#"clerk_gate_verdict_seconds_count{{mode="{mode}"}}"#);
        assert_eq!(page.value(&verdicts), well + refused, "{mode}");
        let sum = format!(r#"clerk_gate_verdict_seconds_sum{{mode="{mode}"}}"#);
        assert!(page.value(&sum) > 0.0 && page.value(&sum) < 10.0, "{mode}");
        let all = format!(r#"clerk_gate_verdict_seconds_bucket{{mode="{mode}",le="+Inf"}}"#);
        assert_eq!(page.value(&all), well + refused, "{mode}");
    }
    assert_eq!(
        world.upstream.received().len(),
        1,
        "who is asked forwards nothing"
    );
}

#[tokio::test]
async fn the_application_and_clerk_are_timed_where_they_were_asked() {
    let world = builder().start().await;
    for path in ["/open/1", "/open/2", "/members/1", "/__clerk/v1/client"] {
        world.get(path).send().await;
    }
    let page = Page::of(&world).await;
    let asked = page.of_metric("clerk_gate_upstream_seconds_count");
    assert_eq!(asked, [(r#"route="open""#.to_owned(), 2.0)]);
    assert_eq!(page.value("clerk_gate_relay_seconds_count"), 1.0);
}

#[tokio::test]
async fn an_application_that_is_gone_is_a_reason_beside_forward() {
    let world = builder().before(([127, 0, 0, 1], 1).into()).start().await;
    let answer = world.get("/open/1").send().await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let page = Page::of(&world).await;
    let series = r#"clerk_gate_decisions_total{route="open",decision="forward",reason="upstream-unreachable"}"#;
    assert_eq!(page.value(series), 1.0);
    let series = r#"clerk_gate_requests_total{mode="proxy",status="502"}"#;
    assert_eq!(page.value(series), 1.0);
}

#[tokio::test]
async fn limits_are_counted_by_name_and_by_what_came_of_them() {
    let world = builder().start().await;
    for path in ["/few/1", "/few/2", "/few/3", "/rehearsed/1", "/rehearsed/2"] {
        world.get(path).send().await;
    }
    let page = Page::of(&world).await;
    let of = |limit: &str, outcome: &str, count: f64| {
        (format!(r#"limit="{limit}",outcome="{outcome}""#), count)
    };
    assert_eq!(
        page.of_metric("clerk_gate_limit_charges_total"),
        [
            of("few", "allowed", 1.0),
            of("few", "refused", 2.0),
            of("rehearsed", "allowed", 1.0),
            of("rehearsed", "dry-run", 1.0),
        ]
    );
    assert_eq!(world.upstream.received().len(), 3);
}
