//! Nobody can make the page longer, nor read there what is nobody else's business.

use super::*;

#[tokio::test]
async fn a_flood_of_what_strangers_make_up_adds_no_series() {
    let world = busy().await;
    // Of everything twice: once in the first ten seconds of a limit, and once behind them.
    busy_with(&world, "again").await;
    let before = Page::of(&world).await;
    for number in 0..40 {
        busy_with(&world, &format!("Made-Up.{number}")).await;
    }
    let after = Page::of(&world).await;
    assert_eq!(after.series(), before.series());
    let requests = |page: &Page| {
        let counts = page.of_metric("clerk_gate_requests_total");
        counts.iter().map(|(_, count)| count).sum::<f64>()
    };
    let flood = requests(&after) - requests(&before);
    assert_eq!(flood, 40.0 * 34.0, "all of it is counted");
}

#[tokio::test]
async fn nothing_of_a_request_is_on_the_page() {
    let world = builder().start().await;
    busy_with(&world, "HiddenMark").await;
    let ada = world.clerk.sign_in("ada", None);
    world.get("/members/1").cookie(&cookies(&ada)).send().await;
    for accept in ["text/plain", "application/openmetrics-text"] {
        // Servers are named by the configuration, and here stand on the machine that asks.
        let server = world.config.upstreams[0].url.to_string();
        let page = world.window("/metrics").header("accept", accept);
        let page = page.send().await.body;
        let page = page.replace(&server, "server");
        let port = world.gate.port().to_string();
        for secret in [
            "HiddenMark",
            &ada.token,
            &ada.user_id,
            &ada.session_id,
            &ada.dev_browser,
            world.clerk.secret_key(),
            world.clerk.publishable_key(),
            world.clerk.cookie_suffix(),
            "127.0.0.1",
            "localhost",
            crate::doors::CLIENT,
            &port,
        ] {
            assert!(!secret.is_empty());
            let shown = page.to_lowercase().contains(&secret.to_lowercase());
            assert!(!shown, "`{secret}` is on the page:\n{page}");
        }
    }
}

#[tokio::test]
async fn every_value_of_a_label_is_of_a_closed_set() {
    let world = busy().await;
    let page = Page::of(&world).await;
    let mut count = 0;
    for series in page.samples.keys() {
        let (_, labels) = series.split_once('{').unwrap_or((series, "}"));
        for label in labels.trim_end_matches("\"}").split("\",") {
            let Some((name, value)) = label.split_once("=\"") else {
                continue;
            };
            assert!(is_known(name, value), "{series}");
            count += 1;
        }
    }
    assert!(count > 300, "{count} labels");
}

fn is_known(label: &str, value: &str) -> bool {
    use clerk_gate::clerk::budget::Purpose;
    use clerk_gate::core::reason::{Reason, RefreshFailure};
    use clerk_gate::telemetry::access::Action;
    use clerk_gate::telemetry::requests::Mode;
    match label {
        "route" => {
            ROUTES.contains(&format!("name    = \"{value}\""))
                || ["(everything else)", "(own pages)", "(no route)", "(unread)"].contains(&value)
        }
        "limit" => ["few", "rehearsed"].contains(&value),
        "decision" => Action::ALL.iter().any(|action| action.name() == value),
        "reason" => value == "none" || Reason::ALL.iter().any(|reason| reason.code() == value),
        "detail" => value == "clerk" || RefreshFailure::OURS.iter().any(|one| one.code() == value),
        "mode" => Mode::ALL.iter().any(|mode| mode.name() == value),
        "status" => value == "other" || (100..600).contains(&value.parse::<u16>().unwrap()),
        "purpose" => Purpose::ALL.iter().any(|purpose| purpose.name() == value),
        "site" => value == "0",
        "upstream" => value == "upstream",
        "server" => value.starts_with("http://127.0.0.1:"),
        "version" => value == env!("CARGO_PKG_VERSION"),
        "protocol" => ["http/1.1", "h2"].contains(&value),
        "tls" => ["no", "yes"].contains(&value),
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "outcome" | "shadow" | "cache" | "listener" => value
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
        _ => false,
    }
}
