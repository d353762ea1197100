//! Who rides through and who does not, pure: each clause of the rule by itself, and all of them at once
//! for inputs of chance.

use std::time::Duration;

use clerk_gate::core::authorization::{Asked, Level, Reverification};
use clerk_gate::core::binding::Binding;
use clerk_gate::core::decide::{Decision, Inputs, Standing, Verdict};
use clerk_gate::core::instance::{BackendApi, Continuity, PendingSessions, Way, Ways};
use clerk_gate::core::machine::TokenTypes;
use clerk_gate::core::policy::{PathReading, Policy, Route};
use clerk_gate::core::question::{MintFailure, TokenStanding};
use clerk_gate::core::reason::RefreshFailure;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::ride_through::{Reach, Recollection};
use clerk_gate::core::verify::Signature;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::support::pure::{self, Oracle, SIGNER, START_MS, Scene, route};

const NOW: u64 = START_MS / 1000;

/// How long sessions ride, in seconds.
const MAX: u64 = 900;

/// How long ago the token of an attempt ended, in seconds.
const ENDED: u64 = 40;

/// A request to `/desk/x` of somebody whose token has ended, who was verified here before, while Clerk is
/// out of reach: it rides through.
struct Attempt {
    scene: Scene,
    method: Method,
    target: &'static str,
    accept: &'static str,
    claims: Value,
    client_uat: u64,
    more_cookies: String,
    bearer: bool,
    oracle: Oracle<'static>,
}

fn desk(requirement: Requirement) -> Route {
    Route {
        ride_through: Some(Duration::from_secs(MAX)),
        ..route("desk", &["/desk/**"], requirement)
    }
}

fn policy(routes: Vec<Route>) -> Policy {
    Policy::compile(routes, PathReading::Leniently).unwrap()
}

impl Attempt {
    fn new() -> Self {
        Self {
            scene: Scene::with(policy(vec![desk(Requirement::SignedIn)])),
            method: Method::POST,
            target: "/desk/x",
            accept: "application/json",
            claims: json!({ "iat": NOW - 100, "nbf": NOW - 110, "exp": NOW - ENDED }),
            client_uat: NOW - 1_000,
            more_cookies: String::new(),
            bearer: false,
            oracle: Oracle {
                recollection: Recollection::Verified(Reach::Unproven),
                reach: Reach::Unreachable,
                ..Oracle::keys_only()
            },
        }
    }

    fn requiring(&mut self, requirement: Requirement) {
        self.scene.policy = policy(vec![desk(requirement)]);
    }

    fn refresh_fails(&mut self, failure: RefreshFailure) {
        let suffix = self.scene.instance.key.cookie_suffix();
        self.more_cookies = format!("; __refresh_{suffix}=r");
        self.oracle.refresh = Err(failure);
    }

    fn verdict(&self) -> Verdict {
        let token = SIGNER.token(&self.scene.instance, &self.claims);
        let mut headers = HeaderMap::new();
        if self.bearer {
            let value = format!("Bearer {token}");
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let cookies = format!(
            "__session={token}; __client_uat={}{}",
            self.client_uat, self.more_cookies
        );
        headers.insert(COOKIE, cookies.parse().unwrap());
        headers.insert(ACCEPT, self.accept.parse().unwrap());
        let target = self.target.parse().unwrap();
        let judge = |inputs: Inputs<'_, '_>| Some(pure::judge(inputs, &self.oracle));
        let verdict = (self.scene).with_facts(&self.method, &target, headers, judge);
        verdict.unwrap().unwrap()
    }
}

/// Whether a request rides through; if so, everything says so.
fn rides(verdict: &Verdict) -> bool {
    let Decision::Forward(permit) = &verdict.decision else {
        return false;
    };
    let marked = (permit.identity().iter())
        .any(|(name, value)| name == "x-clerk-gate-ride-through" && value == "1");
    assert_eq!(marked, permit.rides().is_some());
    if marked {
        assert_eq!(verdict.standing, Standing::SignedIn);
        assert!(verdict.set_cookies.is_empty() && verdict.keepsakes.is_empty());
    }
    marked
}

type Change = fn(&mut Attempt);

fn with(change: Change) -> Attempt {
    let mut attempt = Attempt::new();
    change(&mut attempt);
    attempt
}

fn reverified() -> Requirement {
    Requirement::Has(Asked {
        reverification: Some(Reverification {
            level: Level::FirstFactor,
            after_minutes: 10.0,
        }),
        ..Asked::default()
    })
}

#[rustfmt::skip]
const RIDES: [(&str, Change); 14] = [
    ("a form post", |_| {}),
    ("a fetch", |a| a.method = Method::GET),
    ("a page load", |a| { a.method = Method::GET; a.accept = "text/html"; }),
    ("whose refresh got no connection or no answer", |a| a.refresh_fails(RefreshFailure::Unreachable)),
    ("whose refresh met a failure of Clerk's", |a| a.refresh_fails(RefreshFailure::Failed(None))),
    ("whose refresh met one that has a code", |a| a.refresh_fails(RefreshFailure::Failed(Some("internal".into())))),
    ("where refreshing is switched off", |a| a.scene.instance.ways = Ways { refresh: Way::Closed, ..Ways::default() }),
    ("while Clerk is known to be out, and nobody is asked", |a| { a.refresh_fails(RefreshFailure::Ended); a.oracle.recollection = Recollection::Verified(Reach::Unreachable); a.oracle.reach = Reach::Unproven; }),
    ("at the last moment", |a| a.scene.now_ms = (NOW - ENDED + MAX) * 1000 - 1),
    ("whose session says that it is active", |a| a.claims["sts"] = json!("active")),
    ("with a null for an actor, which is none", |a| a.claims["act"] = Value::Null),
    ("in an organisation", |a| { a.claims["v"] = json!(2); a.claims["o"] = json!({ "id": "org_1", "rol": "admin" }); }),
    ("on a route that anybody may use", |a| a.requiring(Requirement::Public)),
    ("where machines may come too", |a| a.requiring(Requirement::Token(TokenTypes::ANY))),
];

#[test]
fn a_session_that_was_verified_here_rides_through_an_outage_of_clerk() {
    for (name, change) in RIDES {
        let verdict = with(change).verdict();
        assert!(rides(&verdict), "{name}: {verdict:?}");
        assert_eq!(verdict.who.unwrap().user, "user_1", "{name}");
    }
}

#[rustfmt::skip]
const STAYS: [(&str, Change); 41] = [
    ("a route that does not say so", |a| a.scene.policy = policy(vec![route("desk", &["/desk/**"], Requirement::SignedIn)])),
    ("the implied last line", |a| a.target = "/elsewhere"),
    ("a path that some server takes for another route", |a| { a.scene.policy = policy(vec![route("admin", &["/admin/**"], Requirement::SignedIn), Route { ride_through: Some(Duration::from_secs(MAX)), ..route("all", &["/**"], Requirement::SignedIn) }]); a.target = "/ADMIN/x"; }),
    ("a page of the gate's own", |a| { a.method = Method::GET; a.target = "/_gate/me"; }),
    ("max-age", |a| a.requiring(Requirement::MaxAge(Duration::from_hours(9)))),
    ("max-token-age", |a| a.requiring(Requirement::MaxTokenAge(Duration::from_hours(9)))),
    ("reverified", |a| a.requiring(reverified())),
    ("max-age within all", |a| a.requiring(Requirement::All(vec![Requirement::SignedIn, Requirement::MaxAge(Duration::from_hours(9))]))),
    ("max-age within any", |a| a.requiring(Requirement::Any(vec![Requirement::SignedIn, Requirement::MaxAge(Duration::from_hours(9))]))),
    ("reverified deep within", |a| a.requiring(Requirement::All(vec![Requirement::Any(vec![Requirement::SignedIn, Requirement::All(vec![reverified()])])]))),
    ("continuity faithful", |a| a.scene.instance.continuity = Continuity::Faithful),
    ("no secret key", |a| a.scene.instance.backend_api = BackendApi::NoSecretKey),
    ("a token that was not verified here", |a| a.oracle.recollection = Recollection::Unknown),
    ("other gates that are not heard", |a| a.oracle.recollection = Recollection::Unheard),
    ("Clerk that is there", |a| a.oracle.reach = Reach::Unproven),
    ("Clerk that is there and would not refresh", |a| { a.refresh_fails(RefreshFailure::Unreachable); a.oracle.reach = Reach::Unproven; }),
    ("Clerk's word on the refresh", |a| a.refresh_fails(RefreshFailure::Code("session_revoked".into()))),
    ("a refresh without cookies", |a| a.refresh_fails(RefreshFailure::Empty)),
    ("a refresh that makes no sense", |a| a.refresh_fails(RefreshFailure::Unintelligible)),
    ("a refresh with a token that is none", |a| a.refresh_fails(RefreshFailure::InvalidToken)),
    ("a budget that is spent", |a| a.refresh_fails(RefreshFailure::BudgetSpent)),
    ("a session that is known to be over", |a| a.refresh_fails(RefreshFailure::Ended)),
    ("a session that is revoked", |a| a.oracle.standing = TokenStanding::Revoked),
    ("a token that says what has changed", |a| a.oracle.standing = TokenStanding::Outdated),
    ("the moment after the last", |a| a.scene.now_ms = (NOW - ENDED + MAX) * 1000),
    ("long after", |a| a.scene.now_ms = (NOW + 10 * MAX) * 1000),
    ("a bearer", |a| a.bearer = true),
    ("somebody in another person's name", |a| a.claims["act"] = json!({ "sub": "user_2" })),
    ("an actor without a name", |a| a.claims["act"] = json!({})),
    ("tasks that are left", |a| a.claims["sts"] = json!("pending")),
    ("tasks that are left, where that counts as signed in", |a| { a.claims["sts"] = json!("pending"); a.scene.instance.pending = PendingSessions::SignedIn; }),
    ("a status that nobody knows", |a| a.claims["sts"] = json!("frozen")),
    ("a token without a session", |a| a.claims["sid"] = Value::Null),
    ("a session that Clerk cannot be asked about", |a| a.claims["sid"] = json!("sess/../1")),
    ("a machine's token in a cookie", |a| a.claims["sub"] = json!("mch_1")),
    ("a signature that is wrong", |a| a.oracle.signature = &|_, _| Signature::Bad),
    ("another issuer", |a| a.claims["iss"] = json!("https://elsewhere.example.com")),
    ("a party that is not listed", |a| { a.scene.instance.authorized_parties = vec!["https://app.example.com".into()]; a.claims["azp"] = json!("https://evil.example.com"); }),
    ("a token without an end", |a| a.claims["exp"] = Value::Null),
    ("somebody who has signed out in this browser", |a| a.client_uat = 0),
    ("somebody who has signed in anew in it", |a| a.client_uat = NOW - 50),
];

#[test]
fn each_clause_of_the_rule_keeps_a_session_from_riding_through() {
    for (name, change) in STAYS {
        let verdict = with(change).verdict();
        assert!(!pure::is_forwarded(&verdict), "{name}: {verdict:?}");
    }
}

#[test]
fn a_role_that_a_session_lacks_is_asked_of_it_all_the_same() {
    let admin = Asked {
        role: Some("org:admin".into()),
        ..Asked::default()
    };
    let mut attempt = Attempt::new();
    attempt.requiring(Requirement::Has(admin));
    let verdict = attempt.verdict();
    assert_eq!(verdict.cause.unwrap().to_string(), "role-missing");
    assert!(matches!(verdict.decision, Decision::Refuse(_)));
}

#[test]
fn what_is_opened_while_riding_ends_when_the_ride_does() {
    let verdict = Attempt::new().verdict();
    let Decision::Forward(permit) = &verdict.decision else {
        panic!("{verdict:?}");
    };
    let Binding::Session(session) = permit.binding() else {
        panic!("{:?}", permit.binding());
    };
    assert_eq!(session.until_ms, Some((NOW - ENDED + MAX) * 1000));
    assert_eq!(permit.rides(), Some(Duration::from_secs(ENDED)));
}

#[test]
fn a_session_that_can_be_renewed_is_and_does_not_ride() {
    let mut attempt = Attempt::new();
    attempt.refresh_fails(RefreshFailure::Unreachable);
    let fresh = SIGNER.token(&attempt.scene.instance, &json!({}));
    attempt.oracle.refresh = Ok(vec![format!("__session={fresh}; Path=/")]);
    let verdict = attempt.verdict();
    assert!(
        pure::is_forwarded(&verdict) && !rides(&verdict),
        "{verdict:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_accepted_after_the_end_of_the_ride_or_without_having_been_verified_before(
        ended in -2_000_i64..2_000,
        most in 1_u64..1_500,
        verified in any::<bool>(),
        known in select(vec![Reach::Unproven, Reach::Unreachable]),
        reach in select(vec![Reach::Unproven, Reach::Unreachable]),
        minted in select(vec![MintFailure::Ended, MintFailure::Unavailable, MintFailure::Refused]),
        method in select(vec![Method::GET, Method::POST, Method::HEAD, Method::DELETE]),
        accept in select(vec!["text/html", "application/json"]),
        failure in select(RefreshFailure::OURS.to_vec()),
        refreshable in any::<bool>(),
    ) {
        let mut attempt = Attempt::new();
        let exp = NOW.saturating_add_signed(-ended);
        attempt.claims = json!({ "iat": exp - 60, "nbf": exp - 70, "exp": exp });
        attempt.client_uat = exp - 5_000;
        let mut route = desk(Requirement::SignedIn);
        route.ride_through = Some(Duration::from_secs(most));
        attempt.scene.policy = policy(vec![route]);
        attempt.oracle.recollection = if verified {
            Recollection::Verified(known)
        } else {
            Recollection::Unknown
        };
        (attempt.oracle.reach, attempt.oracle.minted) = (reach, Err(minted));
        (attempt.method, attempt.accept) = (method, accept);
        if refreshable {
            attempt.refresh_fails(failure);
        }
        let verdict = attempt.verdict();
        let leeway_ms = attempt.scene.instance.clock_skew_ms;
        let holds = exp * 1000 + leeway_ms > START_MS;
        if pure::is_forwarded(&verdict) && !holds {
            prop_assert!(rides(&verdict));
            prop_assert!(verified);
            prop_assert!(known == Reach::Unreachable || reach == Reach::Unreachable);
            prop_assert!(START_MS < (exp + most) * 1000);
        } else {
            prop_assert!(!rides(&verdict), "what holds does not ride");
        }
    }
}
