//! The page itself: who gets it, and in which notation.

use super::*;
use crate::support::Call;

const PROMETHEUS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

#[tokio::test]
async fn the_page_is_prometheus_text_and_open_metrics_for_who_asks_for_it() {
    let world = busy().await;
    let page = || world.window("/metrics");
    let plain = page().send().await;
    let kind = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.header("content-type"), kind);
    assert_eq!(plain.header("cache-control"), Some("no-store"));
    assert!(
        plain
            .body
            .contains("\n# TYPE clerk_gate_decisions_total counter\n")
    );
    assert!(!plain.body.contains("# EOF"));

    let open = page().header("accept", PROMETHEUS).send().await;
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
    let asked = |method| Call::new(world.admin, method, "/metrics");
    let head = asked(Method::HEAD).send().await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    let posted = asked(Method::POST).send().await;
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
        let answer = world.window("/metrics").header("host", host).send().await;
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
