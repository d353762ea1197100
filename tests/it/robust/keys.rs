//! A flood of made-up key ids.

use std::time::Duration;

use clerk_gate::standin::Endpoint;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::{Kept, figure, healthy, process, soak};
use crate::support::site::clerk;
use crate::support::upstream::RecordingUpstream;

/// The shortest time between two fetches for a key that is not known.
const COOL_DOWN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_made_up_key_ids_makes_few_fetches_and_keeps_nobody_waiting() {
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let (_running, gate) = process(&clerk, upstream.address, "kids", "").await;
    let mel = clerk.sign_in("mel", None);
    healthy(gate, &mel, 10).await;
    upstream.take_received();
    let began = Instant::now();
    let each = 125 * soak();
    let floods: Vec<_> = (0..16)
        .map(|flood| {
            let tokens: Vec<String> = (0..each)
                .map(|n| {
                    let kid = format!("ins_{flood}_{n}");
                    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": kid });
                    // The signature is as good as any: nobody has the key to check it.
                    let claims = json!({ "sub": "user_1", "exp": 4_000_000_000_u64 });
                    let signed = clerk.sign(&header, &claims);
                    format!("authorization: Bearer {signed}\r\n")
                })
                .collect();
            tokio::spawn(async move {
                let mut kept = Kept::open(gate).await;
                for (n, bearer) in tokens.iter().enumerate() {
                    let answer = kept.get(&format!("/flood/{n}"), bearer).await;
                    assert_eq!(
                        (answer.status, answer.code().as_str()),
                        (StatusCode::UNAUTHORIZED, "jwk-kid-mismatch")
                    );
                }
            })
        })
        .collect();
    let longest = healthy(gate, &mel, 50).await;
    for flood in floods {
        flood.await.unwrap();
    }
    let took = began.elapsed();
    let fetches = clerk.calls(Endpoint::Jwks);
    figure("made-up key ids", 16 * each);
    figure("fetches of the key set", fetches);
    figure("longest answer beside them", format!("{longest:?}"));
    // The first for the member, one at once, and one whenever it has cooled down.
    let bound = 2 + usize::try_from(took.as_secs() / COOL_DOWN.as_secs()).unwrap();
    assert!(fetches <= bound, "{fetches} fetches in {took:?}");
    let received = upstream.received();
    assert_eq!(received.len(), 50);
    assert!(
        received
            .iter()
            .all(|received| received.target.starts_with("/members/"))
    );
}
