//! W3C Trace Context, in and out.

use http::StatusCode;

use super::*;
use crate::support::upstream::RecordingUpstream;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A world whose clients are trusted proxies, or are not.
async fn world(receiver: &Receiver, share: f64, trusted: bool) -> World {
    traced(receiver, share)
        .configure(move |config| {
            if trusted {
                config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            }
        })
        .start()
        .await
}

#[tokio::test]
async fn only_a_trusted_proxy_says_whether_a_request_is_written_down() {
    for (trusted, share, flag, expected) in [
        (true, 0.0, "01", "01"),
        (true, 1.0, "00", "00"),
        (true, 1.0, "01", "01"),
        (false, 0.0, "01", "00"),
        (false, 1.0, "00", "01"),
        (false, 0.0, "00", "00"),
    ] {
        let receiver = Receiver::start(Manner::Takes).await;
        let world = world(&receiver, share, trusted).await;
        let parent = format!("00-{TRACE}-{SPAN}-{flag}");
        let call = world.get("/public/1").header("traceparent", &parent);
        assert_eq!(call.send().await.status, StatusCode::OK);
        let told = world.upstream.only().header("traceparent").unwrap();
        let (trace, span, flags) = sent(&told);
        let case = format!("{trusted} {share} {flag}");
        assert_eq!((trace, flags), (TRACE, expected), "{case}");
        assert_ne!(span, SPAN, "{case}");
        world.stop().await;
        let spans = receiver.now().spans;
        assert_eq!(spans.is_empty(), expected == "00", "{case}: {spans:#?}");
        for span in &spans {
            assert_eq!(hex(&span.trace_id), TRACE, "{case}");
        }
        if expected == "01" {
            let request = named(&spans, "GET public");
            assert_eq!(hex(&request.parent_span_id), SPAN, "{case}");
            assert_eq!(request.flags, 0x301, "{case}: its parent is elsewhere");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_is_not_continued_and_does_not_go_on() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = world(&receiver, 0.0, true).await;
    let good = format!("00-{TRACE}-{SPAN}-01");
    let upper = good.to_uppercase();
    let nobody = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let longer = format!("{good}-more");
    for lines in [
        &[""][..],
        &["x"],
        &[&upper],
        &[&nobody],
        &[&longer],
        &[&good, &good],
        &[&good, "x"],
    ] {
        let mut call = world.get("/public/1").header("tracestate", "a=1");
        for line in lines {
            call = call.header("traceparent", line);
        }
        assert_eq!(call.send().await.status, StatusCode::OK);
        let came = world.upstream.take_received();
        assert_eq!(came.len(), 1, "{lines:?}");
        let told = came[0].header("traceparent").unwrap();
        let (trace, span, flags) = sent(&told);
        assert_ne!((trace, span), (TRACE, SPAN), "{lines:?}");
        assert_eq!(
            (trace.len(), span.len(), flags),
            (32, 16, "00"),
            "{lines:?}"
        );
        assert_eq!(came[0].header("tracestate"), None, "{lines:?}");
    }
}

#[tokio::test]
async fn what_others_say_of_a_trace_goes_on_where_it_is_well_formed() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = world(&receiver, 1.0, false).await;
    let good = format!("00-{TRACE}-{SPAN}-01");
    for (lines, expected) in [
        (&["a=1,b=2"][..], Some("a=1,b=2")),
        (&["a=1", "b=2"], Some("a=1,b=2")),
        (&["a=1,A=2"], None),
        (&[], None),
    ] {
        let mut call = world.get("/public/1").header("traceparent", &good);
        for line in lines {
            call = call.header("tracestate", line);
        }
        call.send().await;
        let came = world.upstream.take_received();
        assert_eq!(
            came[0].header("tracestate").as_deref(),
            expected,
            "{lines:?}"
        );
    }
    world.stop().await;
    let spans = receiver.now().spans;
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == 2).collect();
    let states = requests.iter().map(|span| &*span.trace_state);
    assert_eq!(states.collect::<Vec<_>>(), ["a=1,b=2", "a=1,b=2", "", ""]);
}

#[tokio::test]
async fn a_client_cannot_take_away_what_the_upstream_is_told() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = world(&receiver, 1.0, false).await;
    let call = world
        .get("/public/1")
        .header("connection", "close, traceparent");
    call.header("traceparent", &format!("00-{TRACE}-{SPAN}-01"))
        .send()
        .await;
    let told = world.upstream.only().header("traceparent").unwrap();
    assert_eq!(sent(&told).0, TRACE);
    assert_ne!(sent(&told).1, SPAN);
}

#[tokio::test]
async fn without_traces_what_a_client_says_goes_on_as_it_came() {
    let world = World::start().await;
    let call = world.get("/public/1").header("traceparent", "whatever");
    call.header("tracestate", "it is").send().await;
    let came = world.upstream.only();
    assert_eq!(came.header("traceparent").as_deref(), Some("whatever"));
    assert_eq!(came.header("tracestate").as_deref(), Some("it is"));
}

#[tokio::test]
async fn clerk_is_told_of_no_trace() {
    let receiver = Receiver::start(Manner::Takes).await;
    let api = RecordingUpstream::start().await;
    let address = format!("http://{}", api.address).parse().unwrap();
    let world = traced(&receiver, 1.0)
        .configure(move |config| config.clerk.api_url = address)
        .start()
        .await;
    let call = world.get("/keys/1").bearer("ak_0123456789abcdef");
    call.header("traceparent", &format!("00-{TRACE}-{SPAN}-01"))
        .send()
        .await;
    let asked = api.only();
    let names: Vec<&str> = asked.headers.keys().map(http::HeaderName::as_str).collect();
    assert!(names.contains(&"authorization"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("trace")),
        "{names:?}"
    );
    let spans = receiver.spans(3).await;
    named(&spans, "clerk machine");
    world.upstream.assert_untouched();
}
