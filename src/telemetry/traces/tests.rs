use http::HeaderValue;

use super::*;
use crate::core::trace_context::TRACEPARENT;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

fn traces(share: f64) -> (Traces, Exporter, Arc<SpanCounts>) {
    // Nobody is asked before the exporter runs.
    let destination = Destination {
        endpoint: "http://127.0.0.1:9/v1/traces".parse().unwrap(),
        headers: Vec::new(),
        service: "clerk-gate".to_owned(),
    };
    let counts = Arc::default();
    let (traces, exporter) = Traces::to(&destination, Share::of(share).unwrap(), &counts).unwrap();
    (traces, exporter, counts)
}

fn summary() -> Summary {
    Summary {
        method: "GET",
        route: "members".to_owned(),
        mode: "proxy",
        decision: "forward",
        reason: None,
        status: 200,
        request_id: "r1".to_owned(),
        generation: 1,
    }
}

fn written(traces: &Traces, headers: &HeaderMap, sender: Sender) -> bool {
    let trace = traces
        .begin(headers, || sender, Instant::now(), || 1)
        .unwrap();
    trace.is_written()
}

/// What a request says, with the flag that it is written down or without.
fn headers(flag: char) -> HeaderMap {
    let line = format!("{PARENT}{flag}");
    HeaderMap::from_iter([(TRACEPARENT, HeaderValue::try_from(line).unwrap())])
}

#[tokio::test]
async fn a_full_queue_is_counted_and_keeps_nobody_waiting() {
    let (traces, exporter, counts) = traces(1.0);
    for _ in 0..QUEUE + 3 {
        let trace = traces.begin(&HeaderMap::new(), || Sender::Stranger, Instant::now(), || 1);
        trace.unwrap().end(summary(), Vec::new());
    }
    assert_eq!(counts.queue_full.total(), 3);
    drop(exporter);
    let trace = traces.begin(&HeaderMap::new(), || Sender::Stranger, Instant::now(), || 1);
    trace.unwrap().end(summary(), Vec::new());
    assert_eq!(counts.queue_full.total(), 4);
    assert_eq!(counts.outcomes().map(|(_, count)| count), [0, 4, 0, 0]);
}

#[tokio::test]
async fn a_stranger_has_no_say_in_what_is_written_down() {
    for (share, own) in [(0.0, false), (1.0, true)] {
        let (traces, _exporter, _) = traces(share);
        assert_eq!(written(&traces, &HeaderMap::new(), Sender::Trusted), own);
        for flag in ['0', '1'] {
            let headers = headers(flag);
            assert_eq!(written(&traces, &headers, Sender::Stranger), own);
            assert_eq!(written(&traces, &headers, Sender::Trusted), flag == '1');
        }
    }
}

#[tokio::test]
async fn a_share_is_one_of_requests_and_not_of_the_numbers_that_they_come_with() {
    let (traces, _exporter, _) = traces(0.5);
    let headers = headers('1');
    let often = |_: &u32| written(&traces, &headers, Sender::Stranger);
    let count = (0..2000_u32).filter(often).count();
    assert!((800..1200).contains(&count), "{count} of 2000");
}

#[test]
fn a_share_is_from_nothing_to_everything() {
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(Share::of(share), None, "{share}");
    }
    let (none, all) = (Share::of(0.0).unwrap(), Share::of(1.0).unwrap());
    assert!((0..1000).all(|_| all.falls() && !none.falls()));
}

#[test]
fn traces_that_are_off_begin_nothing() {
    let off = Traces::default();
    let now = || panic!("nobody asks for the time");
    let sender = || panic!("nobody asks who it is");
    assert!(
        off.begin(&headers('1'), sender, Instant::now(), now)
            .is_none()
    );
    assert!(!off.are_on());
}

#[tokio::test]
async fn no_debug_shows_a_header_of_the_destination() {
    let destination = Destination {
        endpoint: "https://traces.example/v1/traces".parse().unwrap(),
        headers: vec![(http::header::AUTHORIZATION, "hidden".into())],
        service: "clerk-gate".to_owned(),
    };
    let counts = Arc::default();
    let share = Share::of(1.0).unwrap();
    let (traces, exporter) = Traces::to(&destination, share, &counts).unwrap();
    for shown in [
        format!("{destination:?}"),
        format!("{traces:?}"),
        format!("{exporter:?}"),
    ] {
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
