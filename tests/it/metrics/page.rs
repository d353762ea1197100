//! The page itself: who gets it, and in which notation.

use super::*;

const PROMETHEUS: &str = "accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n";

#[tokio::test]
async fn the_page_is_prometheus_text_and_open_metrics_for_who_asks_for_it() {
    let world = busy().await;
    let plain = ask(&world, "GET", "").await;
    let kind = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.header("content-type"), kind);
    assert_eq!(plain.header("cache-control"), Some("no-store"));
    assert!(
        plain
            .body
            .contains("\n# TYPE clerk_gate_decisions_total counter\n")
    );
    assert!(!plain.body.contains("# EOF"));

    let open = ask(&world, "GET", PROMETHEUS).await;
    let kind = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(open.header("content-type"), kind);
    assert!(
        open.body
            .contains("\n# TYPE clerk_gate_decisions counter\n")
    );
    assert!(open.body.ends_with("\n# EOF\n"));

    // Both say the same.
    let samples = |text: &str| -> BTreeMap<String, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (without_notation(series), value.parse().unwrap()))
            .collect()
    };
    assert_eq!(samples(&open.body), samples(&plain.body));
}

/// A series with its bound written in one way, and its labels in one order.
fn without_notation(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else {
        return series.to_owned();
    };
    let labels = labels.strip_suffix("\"}").unwrap().split("\",");
    let labels: BTreeSet<String> = labels
        .map(|label| match label.strip_prefix("le=\"") {
            Some(bound) => format!("{:?}", bound.parse::<f64>().unwrap()),
            None => label.to_owned(),
        })
        .collect();
    format!("{name} {labels:?}")
}

#[tokio::test]
async fn the_page_is_read_and_nothing_else() {
    let world = builder().start().await;
    let head = ask(&world, "HEAD", "").await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    let posted = ask(&world, "POST", "").await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn the_page_is_for_addresses_and_names_of_this_machine_only() {
    let world = builder().start().await;
    for (host, status) in [
        ("localhost:9901", StatusCode::OK),
        ("10.1.2.3:9901", StatusCode::OK),
        ("[::1]", StatusCode::OK),
        ("rebound.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(world.admin, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(
            answer.body.contains("clerk_gate_"),
            status == StatusCode::OK
        );
    }
}

#[tokio::test]
async fn the_application_never_gets_to_it() {
    let world = builder().start().await;
    let answer = world.get("/metrics").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "as any other path");
    assert!(!answer.body.contains("clerk_gate_"));
    world.upstream.assert_untouched();
}
