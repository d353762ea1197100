//! What stands in a trace.

use std::collections::BTreeMap;

use clerk_gate::core::door::Dialect;
use http::{Method, StatusCode};

use super::*;
use crate::ext_authz::Ask;
use crate::support::{Call, START_MS, cookies, refreshable};

#[tokio::test]
async fn a_request_is_a_span_with_its_verdict_and_its_upstream() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0).start().await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world.get("/members/1?x=1").bearer(&ada.token);
    let answer = call.header("x-request-id", "r-1").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let spans = receiver.spans(4).await;
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let request = named(&spans, "GET members");
    let verdict = named(&spans, "verdict");
    let signature = named(&spans, "signature");
    let upstream = named(&spans, "upstream");
    for (span, kind, parent) in [
        (request, 2, &[][..]),
        (verdict, 1, &request.span_id),
        (signature, 1, &verdict.span_id),
        (upstream, 3, &request.span_id),
    ] {
        assert_eq!(
            (span.kind, &*span.parent_span_id),
            (kind, parent),
            "{span:?}"
        );
        assert_eq!(span.trace_id, request.trace_id);
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(
            span.start_time_unix_nano >= START_MS * 1_000_000,
            "{span:?}"
        );
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
        assert!(request.start_time_unix_nano <= span.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= request.end_time_unix_nano);
        assert_eq!(span.flags, 0x101);
        assert_eq!(span.status, None);
    }
    assert!(upstream.start_time_unix_nano >= verdict.end_time_unix_nano);
    let said: BTreeMap<String, String> = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("clerk_gate.route", "members"),
        ("clerk_gate.mode", "proxy"),
        ("clerk_gate.decision", "forward"),
        ("clerk_gate.request_id", "r-1"),
        ("clerk_gate.config_generation", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(attributes(&request.attributes), said);
    let told = world.upstream.only().header("traceparent").unwrap();
    let (trace, span, flags) = sent(&told);
    assert_eq!(trace, hex(&request.trace_id));
    assert_eq!(
        span,
        hex(&upstream.span_id),
        "the upstream goes on from there"
    );
    assert_eq!(flags, "01");
}

#[tokio::test]
async fn spans_go_to_their_endpoint_with_its_headers_and_the_name_of_the_service() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0).start().await;
    world.get("/public/1").send().await;
    receiver.spans(1).await;
    let arrived = receiver.now();
    let (target, headers) = &arrived.heads[0];
    assert_eq!(target, "POST /v1/traces");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-key"], "hidden");
    let of = |name: &str| arrived.resources[0][name].clone();
    assert_eq!(of("service.name"), "gate-of-tests");
    assert_eq!(of("service.version"), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn what_a_verdict_waited_for_is_a_part_of_it() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0).start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let call = world.get("/members/1").cookie(&refreshable(&world, &ada));
    assert_eq!(call.send().await.status, StatusCode::OK);
    let spans = receiver
        .until(|arrived| arrived.spans.len() >= 6)
        .await
        .spans;
    let refresh = named(&spans, "clerk refresh");
    assert_eq!(refresh.parent_span_id, named(&spans, "verdict").span_id);
    assert_eq!(refresh.kind, 3);
    let told = world.upstream.only().header("traceparent").unwrap();
    let upstream = named(&spans, "upstream");
    assert_eq!(
        sent(&told).1,
        hex(&upstream.span_id),
        "not Clerk, but the application"
    );
}

#[tokio::test]
async fn an_upstream_that_fails_is_a_failure_with_its_reason() {
    let receiver = Receiver::start(Manner::Takes).await;
    let nobody = ([127, 0, 0, 1], 1).into();
    let world = traced(&receiver, 1.0).before(nobody).start().await;
    let answer = world.get("/public/1").send().await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let spans = receiver.spans(3).await;
    for name in ["GET public", "upstream"] {
        let span = named(&spans, name);
        assert_eq!(span.status.as_ref().unwrap().code, 2, "{name}");
        let said = attributes(&span.attributes);
        assert_eq!(said["error.type"], "upstream-unreachable", "{name}");
    }
    assert_eq!(named(&spans, "verdict").status, None);
}

#[tokio::test]
async fn a_refusal_is_a_span_with_its_reason_and_no_upstream() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0).start().await;
    world.get("/members/1").send().await;
    world.get("/%zz").send().await;
    let odd = "BREW".parse().unwrap();
    world.request(odd, "/members/1").send().await;
    let spans = receiver
        .until(|arrived| arrived.spans.len() >= 5)
        .await
        .spans;
    let reason = |name: &str| {
        let said = attributes(&named(&spans, name).attributes);
        (
            said["clerk_gate.decision"].clone(),
            said["clerk_gate.reason"].clone(),
        )
    };
    let refused = |reason: &str| ("refuse".to_owned(), reason.to_owned());
    assert_eq!(reason("GET members"), refused("dev-browser-missing"));
    assert_eq!(reason("GET (unread)"), refused("path-malformed"));
    assert_eq!(reason("_OTHER members"), refused("dev-browser-missing"));
    assert!(spans.iter().all(|span| span.name != "upstream"));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn what_is_sent_to_tls_is_a_span_and_what_is_refused_there_is_one_too() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0)
        .configure(|config| config.redirect_listen = vec!["127.0.0.1:0".parse().unwrap()])
        .start()
        .await;
    let address = world.redirect.unwrap();
    for (target, status) in [("/members/1?a=b", 308), ("/%zz", 400)] {
        let call = Call::new(address, Method::GET, target).header("x-request-id", "mine");
        assert_eq!(call.send().await.status, status, "{target}");
    }
    let spans = receiver
        .until(|arrived| arrived.spans.len() >= 2)
        .await
        .spans;
    assert_eq!(spans.len(), 2, "{spans:#?}");
    for (name, decision, reason, status) in [
        ("GET (no route)", "redirect", None, "308"),
        ("GET (unread)", "refuse", Some("path-malformed"), "400"),
    ] {
        let said = attributes(&named(&spans, name).attributes);
        assert_eq!(said["clerk_gate.mode"], "redirect");
        assert_eq!(said["clerk_gate.decision"], decision);
        let found = said.get("clerk_gate.reason").map(String::as_str);
        assert_eq!(found, reason);
        assert_eq!(said["http.response.status_code"], status);
        assert_eq!(said["clerk_gate.request_id"], "mine");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn whoever_is_asked_by_a_gateway_writes_that_down_too() {
    let receiver = Receiver::start(Manner::Takes).await;
    let builder = traced(&receiver, 1.0).with_doors().with_ext_authz();
    let world = builder.start().await;
    let mut modes = vec!["ext-authz".to_owned()];
    for dialect in Dialect::ALL {
        crate::doors::ask(&world, dialect, "GET", "/public/1")
            .send()
            .await;
        crate::doors::ask(&world, dialect, "GET", "/%zz")
            .send()
            .await;
        modes.push(
            clerk_gate::telemetry::requests::Mode::from(dialect)
                .name()
                .to_owned(),
        );
    }
    for path in ["/public/1", "/%zz"] {
        Ask::at(&world, "GET", path).send(&world).await;
    }
    modes.sort();
    for name in ["GET public", "GET (unread)"] {
        let of = |span: &Span| (span.name == name).then(|| attributes(&span.attributes));
        let count = |arrived: &receiver::Arrived| arrived.spans.iter().filter_map(of).count();
        let arrived = receiver.until(|arrived| count(arrived) == 6).await;
        let mut found: Vec<String> = arrived
            .spans
            .iter()
            .filter_map(of)
            .map(|said| said["clerk_gate.mode"].clone())
            .collect();
        found.sort();
        assert_eq!(found, modes, "{name}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_trace_tells_nothing_of_people_nor_what_a_request_carries() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0).start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mark = "HiddenMark";
    let (path, query) = (
        format!("/members/{mark}"),
        format!("/members/1?token={mark}"),
    );
    for call in [
        world.get(&path).bearer(&ada.token),
        world.get(&query).cookie(&cookies(&ada)),
        world.visit(&query).cookie(&refreshable(&world, &ada)),
        world.get(&query).bearer(mark),
        world.get(&format!("/{mark}/%zz")),
        world.request(mark.parse().unwrap(), "/members/1"),
        world
            .get("/members/1")
            .header("host", &format!("{mark}.example")),
        world
            .get("/members/1")
            .header("x-request-id", &format!("{mark}!")),
        world.get("/members/1").header("user-agent", mark),
    ] {
        call.send().await;
    }
    let arrived =
        receiver.until(|arrived| arrived.spans.iter().filter(|span| span.kind == 2).count() == 9);
    let arrived = arrived.await;
    let refresh = ada.refresh_token.clone().unwrap();
    for raw in &arrived.raw {
        let text = String::from_utf8_lossy(raw).to_lowercase();
        for secret in [
            mark,
            &ada.token,
            &ada.user_id,
            &ada.session_id,
            &ada.dev_browser,
            &refresh,
            world.clerk.secret_key(),
            "127.0.0.1",
            "localhost",
            "/members",
        ] {
            assert!(!secret.is_empty());
            assert!(
                !text.contains(&secret.to_lowercase()),
                "`{secret}` in {text}"
            );
        }
    }
}
