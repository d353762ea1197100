//! When limits are charged: by address before anything is decoded, all others once a request may pass.

use clerk_gate::core::budget::{Counts, Spending, Standing};
use clerk_gate::core::decide::{self, Decision, RefusalKind, Step};
use clerk_gate::core::policy::Policy;
use clerk_gate::core::question::{Progress, Question, Stage};
use clerk_gate::core::reason::Reason;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method, StatusCode};

use super::{limited, outcome, world_of, written};
use crate::support::pure::{self, Scene};

const BOTH: &str = r#"
[[limit]]
name     = "door"
requests = 2
window   = "1m"
by       = "address"

[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"
limit   = { requests = 1, window = "1m" }

[[template]]
name = "supabase"

[[route]]
name     = "templated"
path     = "/templated/**"
require  = "signed-in"
template = "supabase"
limit    = { requests = 1, window = "1m" }

[[route]]
name    = "hidden"
path    = "/hidden/**"
require = "signed-in"
hide    = true
"#;

fn policy() -> Policy {
    written(BOTH).policy
}

const SPENT: Standing = Standing {
    allowed: false,
    remaining: 0,
    reset_in_ms: 1000,
};

/// Decides with a limit that is spent at this stage; what was asked, and the verdict.
fn spent_at(stage: Stage, target: &str, headers: HeaderMap) -> (Vec<Question>, Decision, Reason) {
    let scene = Scene::with(policy());
    let mut told = None;
    scene.with_facts(&Method::GET, &target.parse().unwrap(), headers, |inputs| {
        let mut progress = Progress::default();
        loop {
            match decide::decide(inputs, &mut progress) {
                Step::Done(verdict) => {
                    let reason = verdict.cause.as_ref().unwrap().reason;
                    told = Some((progress.asked().to_vec(), verdict.decision, reason));
                    return;
                }
                Step::Ask(Question::Budget(asked)) => {
                    assert_eq!(progress.charges(asked).len(), 1, "{asked:?}");
                    let allowed = asked != stage;
                    let rate = Some(Standing { allowed, ..SPENT });
                    let spending = Spending {
                        rate,
                        in_flight: None,
                        counts: Counts::Reached,
                    };
                    progress.answer_budget(asked, vec![spending]);
                }
                Step::Ask(Question::Token(slot)) => {
                    let raw = progress.raw(slot).unwrap_or_default();
                    let decoded = clerk_gate::core::jwt::Token::decode(raw).map(Into::into);
                    let answer = clerk_gate::core::question::TokenAnswer {
                        decoded,
                        signature: Some(clerk_gate::core::verify::Signature::Good),
                        standing: clerk_gate::core::question::TokenStanding::Stands,
                    };
                    progress.answer_token(slot, answer);
                }
                Step::Ask(other) => panic!("{other:?}"),
            }
        }
    });
    told.unwrap()
}

fn credentials() -> HeaderMap {
    let scene = Scene::with(policy());
    let token = pure::SIGNER.token(&scene.instance, &serde_json::json!({}));
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(
        COOKIE,
        format!("__session={token}; __client_uat=1")
            .parse()
            .unwrap(),
    );
    headers
}

#[test]
fn a_spent_limit_by_address_is_refused_before_any_token_is_looked_at() {
    let (asked, decision, reason) = spent_at(Stage::Arrival, "/members/x", credentials());
    assert_eq!(asked, [Question::Budget(Stage::Arrival)]);
    assert_eq!(reason, Reason::RateLimited);
    assert!(matches!(decision, Decision::Refuse(r) if r.kind == RefusalKind::Request));
}

#[test]
fn all_other_limits_are_charged_last_and_only_to_whoever_may_pass() {
    let (asked, decision, reason) = spent_at(Stage::Admission, "/members/x", credentials());
    let last = asked.last();
    assert_eq!(last, Some(&Question::Budget(Stage::Admission)));
    assert_eq!(asked.first(), Some(&Question::Budget(Stage::Arrival)));
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(reason, Reason::RateLimited);
    assert!(matches!(decision, Decision::Refuse(_)));

    let (asked, _, reason) = spent_at(Stage::Admission, "/templated/x", credentials());
    assert_eq!(asked.last(), Some(&Question::Budget(Stage::Admission)));
    assert_eq!(
        reason,
        Reason::RateLimited,
        "and Clerk is asked for no token"
    );

    let (asked, _, reason) = spent_at(Stage::Admission, "/members/x", HeaderMap::new());
    assert_eq!(
        asked,
        [Question::Budget(Stage::Arrival)],
        "nobody is charged who may not pass"
    );
    assert_eq!(reason, Reason::SessionTokenAndUatMissing);
}

#[test]
fn what_is_hidden_is_hidden_from_whoever_is_not_known_yet() {
    let (_, decision, _) = spent_at(Stage::Arrival, "/hidden/x", credentials());
    assert!(!decide::tells_of_budgets(&decision));
    assert!(matches!(decision, Decision::Refuse(r) if r.kind == RefusalKind::Hidden));
}

#[tokio::test]
async fn a_flood_of_made_up_tokens_ends_at_the_door() {
    let world = world_of(BOTH).start().await;
    let mut codes = Vec::new();
    for number in 0..6 {
        let forged = format!("eyJhbGciOiJSUzI1NiIsImtpZCI6ImZvcmdlZCJ9.e30.{number}");
        let answer = world.get("/members/x").bearer(&forged).send().await;
        codes.push(answer.status.as_u16());
    }
    assert_eq!(codes, [401, 401, 429, 429, 429, 429]);
    let ada = world.clerk.sign_in("ada", None);
    let answer = world.get("/members/x").bearer(&ada.token).send().await;
    assert_eq!(outcome(&answer), limited(), "one address is one address");
    world.upstream.assert_untouched();
    let page = world.get("/_gate/me").bearer(&ada.token).send().await;
    assert_eq!(
        page.status,
        StatusCode::OK,
        "the gate's own pages are not counted"
    );
}

#[tokio::test]
async fn hidden_routes_answer_a_flood_as_they_answer_everything() {
    let world = world_of(BOTH).start().await;
    for _ in 0..5 {
        let answer = world.get("/hidden/x").send().await;
        assert_eq!(outcome(&answer), (404, "not-found".to_owned()));
        assert_eq!(answer.header("ratelimit"), None);
        assert_eq!(answer.header("retry-after"), None);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn what_no_route_matches_is_limited_too() {
    let world = world_of(BOTH).start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = world.get("/elsewhere").bearer(&ada.token).send().await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(world.upstream.received().len(), 2);
}
