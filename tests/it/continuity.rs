//! Rules of the gate's own cookies: whom a seal speaks for, and which handshake results are taken.

use clerk_gate::core::continuity::{Journey, Keepsake, OwnCookies, Seal, State};
use clerk_gate::core::decide::{Decision, Standing, Verdict};
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::instance::{BackendApi, Continuity, Way, Ways};
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::question::{MintFailure, TokenStanding};
use clerk_gate::core::requirement::Requirement;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::pure::{self, Oracle, SIGNER, START_MS, Scene, journey, route};

const NOW: u64 = START_MS / 1000;

/// A request, and what the gate finds out about it. As it stands: a program of Ada's whose token has run
/// out, with a good seal and a Clerk that mints.
struct Attempt {
    scene: Scene,
    method: Method,
    /// The session cookie; `None` where the browser has thrown it away.
    token: Option<String>,
    client_uat: Option<String>,
    more_cookies: String,
    bearer: Option<String>,
    accept: &'static str,
    target: String,
    oracle: Oracle<'static>,
}

type Change = fn(&mut Attempt);

fn scene() -> Scene {
    Scene::with(Policy::compile(Vec::new(), PathReading::Leniently).unwrap())
}

fn seal() -> Seal {
    Seal {
        session: "sess_1".to_owned(),
        user: "user_1".to_owned(),
        first_ms: START_MS - 600_000,
        sealed_ms: START_MS - 120_000,
    }
}

fn token(claims: &Value) -> String {
    SIGNER.token(&scene().instance, claims)
}

fn expired() -> Value {
    json!({ "iat": NOW - 100, "nbf": NOW - 110, "exp": NOW - 40 })
}

impl Attempt {
    fn new() -> Self {
        Self {
            scene: scene(),
            method: Method::POST,
            token: Some(token(&expired())),
            client_uat: Some((NOW - 1_000).to_string()),
            more_cookies: String::new(),
            bearer: None,
            accept: "application/json",
            target: "/".to_owned(),
            oracle: Oracle {
                own: OwnCookies {
                    seal: Some(seal()),
                    state: None,
                },
                minted: Ok(token(&json!({}))),
                ..Oracle::keys_only()
            },
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut attempt = Self::new();
        change(&mut attempt);
        attempt
    }

    fn page_load(mut self) -> Self {
        self.method = Method::GET;
        self.accept = "text/html";
        self
    }

    fn seal(&mut self) -> &mut Seal {
        self.oracle.own.seal.as_mut().unwrap()
    }

    fn verdict(&self) -> Verdict {
        let suffix = self.scene.instance.key.cookie_suffix();
        let mut cookies = format!(
            "__Host-clerk-gate-seal_{suffix}=x; __Host-clerk-gate-state_0123456789abcdef_{suffix}=x{}",
            self.more_cookies
        );
        for (name, value) in [
            ("__session", &self.token),
            ("__client_uat", &self.client_uat),
        ] {
            if let Some(value) = value {
                cookies = format!("{cookies}; {name}={value}");
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.parse().unwrap());
        headers.insert(ACCEPT, self.accept.parse().unwrap());
        if let Some(bearer) = &self.bearer {
            headers.insert(AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap());
        }
        let target = self.target.parse().unwrap();
        let judge = |inputs: clerk_gate::core::decide::Inputs<'_, '_>| {
            Some(pure::judge(inputs, &self.oracle))
        };
        let verdict = self.scene.with_facts(&self.method, &target, headers, judge);
        verdict.unwrap().unwrap()
    }

    fn is_let_in(&self) -> bool {
        pure::is_forwarded(&self.verdict())
    }

    fn reason(&self) -> String {
        let verdict = self.verdict();
        assert!(!pure::is_forwarded(&verdict), "{verdict:?}");
        verdict.cause.unwrap().to_string()
    }
}

const EXPIRED: &str = "session-token-expired-refresh-non-eligible-no-refresh-cookie";

#[test]
fn whatever_cannot_go_to_clerk_and_back_goes_on_with_a_minted_token() {
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::GET,
        Method::HEAD,
    ] {
        for token in [Some(token(&expired())), None] {
            let attempt = Attempt::with(|attempt| {
                attempt.method = method.clone();
                attempt.token = token;
            });
            let verdict = attempt.verdict();
            let Decision::Forward(permit) = &verdict.decision else {
                panic!("{method}: {verdict:?}");
            };
            let user = permit
                .identity()
                .iter()
                .find(|(name, _)| name == "x-user-id");
            assert_eq!(user.unwrap().1, "user_1");
            let minted = attempt.oracle.minted.as_ref().unwrap();
            let cookie =
                format!("__session={minted}; Path=/; Max-Age=31536000; SameSite=Lax; Secure");
            assert_eq!(verdict.set_cookies, [cookie]);
            assert_eq!(verdict.keepsakes, [], "a minted token proves no handshake");
        }
    }
}

#[test]
fn both_copies_of_the_cookie_are_renewed_where_both_are_in_use() {
    let attempt = Attempt::with(|attempt| {
        let suffix = attempt.scene.instance.key.cookie_suffix().to_owned();
        let uat = NOW - 1_000;
        let token = token(&expired());
        attempt.more_cookies = format!("; __session_{suffix}={token}; __client_uat_{suffix}={uat}");
    });
    let lines = attempt.verdict().set_cookies;
    let names: Vec<_> = lines.iter().map(|l| l.split('=').next().unwrap()).collect();
    assert_eq!(names, ["__session", "__session_naoXFJnI"]);
}

#[test]
fn a_page_load_goes_to_clerk_and_back_until_that_goes_in_circles() {
    let verdict = Attempt::new().page_load().verdict();
    assert_eq!(verdict.standing, Standing::Handshake);
    let circling = Attempt::with(|attempt| {
        attempt.more_cookies = "; __clerk_redirect_count=3".to_owned();
    });
    assert!(circling.page_load().is_let_in());
}

fn with(change: impl FnOnce(&mut Attempt)) -> Attempt {
    Attempt::with(change)
}

/// Attempts that must not be let in by their seal, and what is wrong with each.
fn refused() -> Vec<(&'static str, Attempt)> {
    let foreign = |name: &str| {
        let mut claims = expired();
        claims[name] = json!("other_1");
        Some(token(&claims))
    };
    vec![
        ("no client", with(|a| a.client_uat = None)),
        ("signed out", with(|a| a.client_uat = Some("0".to_owned()))),
        ("negative", with(|a| a.client_uat = Some("-5".to_owned()))),
        (
            "the client has changed since",
            with(|a| a.client_uat = Some((NOW - 119).to_string())),
        ),
        ("no seal opens", with(|a| a.oracle.own.seal = None)),
        (
            "older than a seal may be",
            with(|a| a.seal().first_ms = START_MS - 7 * 86_400_000 - 1),
        ),
        (
            "seal of another session",
            with(|a| "sess_2".clone_into(&mut a.seal().session)),
        ),
        (
            "seal of another user",
            with(|a| "user_2".clone_into(&mut a.seal().user)),
        ),
        (
            "token of another session",
            with(|a| a.token = foreign("sid")),
        ),
        ("token of another user", with(|a| a.token = foreign("sub"))),
        (
            "token signed by somebody else",
            with(|a| a.oracle.signature = &|_, _| clerk_gate::core::verify::Signature::Bad),
        ),
        (
            "no token at all",
            with(|a| a.token = Some("x.y".to_owned())),
        ),
        (
            "session that is over",
            with(|a| a.oracle.standing = TokenStanding::Revoked),
        ),
        (
            "minted for another session",
            with(|a| a.oracle.minted = Ok(token(&json!({ "sid": "sess_2" })))),
        ),
        (
            "minted for another user",
            with(|a| a.oracle.minted = Ok(token(&json!({ "sub": "user_2" })))),
        ),
        (
            "minted and expired",
            with(|a| a.oracle.minted = Ok(token(&expired()))),
        ),
        (
            "minted nonsense",
            with(|a| a.oracle.minted = Ok("x.y.z".to_owned())),
        ),
        (
            "minted for another party",
            with(|a| {
                a.scene.instance.authorized_parties = vec!["https://app.example.com".to_owned()];
                a.oracle.minted = Ok(token(&json!({ "azp": "https://evil.example" })));
            }),
        ),
        (
            "no secret key",
            with(|a| a.scene.instance.backend_api = BackendApi::NoSecretKey),
        ),
        (
            "faithful",
            with(|a| a.scene.instance.continuity = Continuity::Faithful),
        ),
        ("bearer", with(|a| a.bearer = Some(token(&expired())))),
    ]
}

#[test]
fn a_seal_speaks_for_its_own_session_and_browser_alone() {
    let all = refused();
    assert_eq!(all.len(), 21);
    for (what, attempt) in all {
        let verdict = attempt.verdict();
        assert!(!pure::is_forwarded(&verdict), "{what}: {verdict:?}");
        assert_eq!(verdict.set_cookies, Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_token_without_a_client_is_no_case_for_a_seal() {
    let attempt = Attempt::with(|attempt| attempt.client_uat = Some((NOW - 50).to_string()));
    assert_eq!(attempt.reason(), "session-token-iat-before-client-uat");
}

#[test]
fn who_cannot_be_renewed_is_told_why() {
    for (failure, expected) in [
        (MintFailure::Ended, "session-revoked"),
        (MintFailure::Unavailable, "session-renewal-unavailable"),
        (MintFailure::Refused, EXPIRED),
    ] {
        let attempt = Attempt::with(|attempt| attempt.oracle.minted = Err(failure));
        assert_eq!(attempt.reason(), expected);
    }
    let without = Attempt::with(|attempt| {
        attempt.token = None;
        attempt.oracle.minted = Err(MintFailure::Refused);
    });
    assert_eq!(without.reason(), "client-uat-but-no-session-token");
}

#[test]
fn an_outdated_token_is_renewed_by_its_seal() {
    let outdated = Attempt::with(|attempt| {
        attempt.token = Some(token(&json!({})));
        attempt.oracle.standing = TokenStanding::Outdated;
    });
    assert!(outdated.is_let_in());
    let ended = Attempt::with(|attempt| {
        attempt.token = Some(token(&json!({})));
        attempt.oracle.standing = TokenStanding::Outdated;
        attempt.oracle.minted = Err(MintFailure::Ended);
    });
    assert_eq!(ended.reason(), "session-revoked");
}

/// A page load that brings what a handshake ended with.
fn arrival(claims: &Value, state: Option<State>) -> Attempt {
    let brought = token(claims);
    let result = token(&json!({ "handshake": [format!("__session={brought}; Path=/")] }));
    Attempt::with(|attempt| {
        attempt.token = None;
        attempt.client_uat = None;
        attempt.oracle.own = OwnCookies { seal: None, state };
        attempt.more_cookies = format!("; __clerk_handshake={result}");
        "/?a=1&__clerk_gate_state=0123456789abcdef".clone_into(&mut attempt.target);
    })
    .page_load()
}

fn begun() -> State {
    State {
        journey: journey(),
        until_ms: START_MS + 1,
    }
}

/// Whether somebody arrives signed in: at the address without what the journey left in it.
fn arrives(verdict: &Verdict) -> bool {
    let session = |line: &String| line.starts_with("__session=");
    matches!(&verdict.decision, Decision::Redirect(redirect) if redirect.location == "https://app.example.com/?a=1")
        && verdict.set_cookies.iter().any(session)
}

#[test]
fn a_handshake_that_began_here_is_taken_and_sealed() {
    let verdict = arrival(&json!({}), Some(begun())).verdict();
    assert!(arrives(&verdict), "{verdict:?}");
    let sealed = Seal {
        first_ms: START_MS,
        sealed_ms: START_MS,
        ..seal()
    };
    assert_eq!(
        verdict.keepsakes,
        [Keepsake::DropState(journey()), Keepsake::Seal(sealed)]
    );
}

#[test]
fn a_handshake_that_began_elsewhere_signs_nobody_in() {
    let over = State {
        until_ms: START_MS,
        ..begun()
    };
    let other = State {
        journey: Journey::named("fedcba9876543210").unwrap(),
        ..begun()
    };
    let unnamed = Attempt {
        target: "/?a=1".to_owned(),
        ..arrival(&json!({}), Some(begun()))
    };
    let attempts = [None, Some(over), Some(other)].map(|state| arrival(&json!({}), state));
    for attempt in attempts.into_iter().chain([unnamed]) {
        let verdict = attempt.verdict();
        assert!(!pure::is_forwarded(&verdict), "{verdict:?}");
        assert!(!arrives(&verdict), "{verdict:?}");
        assert_eq!(verdict.set_cookies, Vec::<String>::new());
        assert_eq!(attempt.reason(), "session-token-and-uat-missing");
    }
}

#[test]
fn a_handshake_is_taken_as_the_sdk_takes_it_where_browsers_keep_no_state() {
    let mut plain = arrival(&json!({}), None);
    let address = Origin::parse("http://app.example.com").unwrap();
    plain.scene.edge.public = PublicAddress::Fixed(address);
    let mut faithful = arrival(&json!({}), None);
    faithful.scene.instance.continuity = Continuity::Faithful;
    for mut attempt in [plain, faithful] {
        attempt.target = "/".to_owned();
        let verdict = attempt.verdict();
        assert!(pure::is_forwarded(&verdict), "{verdict:?}");
        assert_eq!(
            verdict.keepsakes,
            [],
            "what did not begin here is not sealed"
        );
    }
}

#[test]
fn nothing_but_a_page_load_takes_a_handshake() {
    let mut attempt = arrival(&json!({}), Some(begun()));
    attempt.method = Method::POST;
    assert_eq!(attempt.reason(), "session-token-and-uat-missing");
    assert_eq!(attempt.verdict().keepsakes, []);
}

#[test]
fn a_seal_keeps_its_first_issue_for_as_long_as_the_session_is_the_same() {
    let sealed_at = |own: Seal| {
        let mut attempt = arrival(&json!({}), Some(begun()));
        attempt.oracle.own.seal = Some(own);
        match attempt.verdict().keepsakes.as_slice() {
            [Keepsake::DropState(_), Keepsake::Seal(seal)] => (seal.first_ms, seal.sealed_ms),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sealed_at(seal()), (START_MS - 600_000, START_MS));
    let other = Seal {
        session: "sess_2".to_owned(),
        ..seal()
    };
    assert_eq!(sealed_at(other), (START_MS, START_MS));
}

#[test]
fn a_seal_is_no_older_than_its_session_where_our_clock_is_behind() {
    let issued = NOW + 4;
    let claims = json!({ "iat": issued, "nbf": issued, "exp": issued + 60 });
    let verdict = arrival(&claims, Some(begun())).verdict();
    let sealed = verdict
        .keepsakes
        .iter()
        .find_map(|keepsake| match keepsake {
            Keepsake::Seal(seal) => Some((seal.first_ms, seal.sealed_ms)),
            _ => None,
        });
    assert_eq!(sealed, Some((START_MS, issued * 1000)), "{verdict:?}");
}

#[test]
fn an_impersonated_session_is_not_sealed() {
    let verdict = arrival(&json!({ "act": { "sub": "user_9" } }), Some(begun())).verdict();
    assert!(arrives(&verdict), "{verdict:?}");
    assert_eq!(verdict.keepsakes, [Keepsake::DropState(journey())]);
}

#[test]
fn a_session_that_ended_meanwhile_comes_back_signed_out() {
    let mut attempt = arrival(&json!({}), Some(begun()));
    attempt.oracle.standing = TokenStanding::Revoked;
    assert_eq!(attempt.reason(), "session-revoked");
    assert_eq!(
        attempt.verdict().keepsakes[0],
        Keepsake::DropState(journey())
    );
}

#[test]
fn a_refresh_is_sealed() {
    let brought = format!("__session={}; Path=/", token(&json!({})));
    let attempt = Attempt::with(|attempt| {
        let suffix = attempt.scene.instance.key.cookie_suffix().to_owned();
        attempt.more_cookies = format!("; __refresh_{suffix}=r");
        attempt.oracle.own.seal = None;
        attempt.oracle.refresh = Ok(vec![brought]);
    });
    let verdict = attempt.verdict();
    assert!(pure::is_forwarded(&verdict), "{verdict:?}");
    assert!(matches!(verdict.keepsakes.as_slice(), [Keepsake::Seal(_)]));
}

#[test]
fn a_good_token_is_never_sealed_because_it_is_good() {
    for (cookie, bearer) in [(true, false), (false, true)] {
        let attempt = Attempt::with(|attempt| {
            attempt.oracle.own.seal = None;
            attempt.token = cookie.then(|| token(&json!({})));
            attempt.bearer = bearer.then(|| token(&json!({})));
        });
        let verdict = attempt.verdict();
        assert!(pure::is_forwarded(&verdict), "{verdict:?}");
        assert_eq!(verdict.keepsakes, []);
    }
}

#[test]
fn what_begins_here_is_remembered_by_a_name_in_the_way_back() {
    let verdict = Attempt::new().page_load().verdict();
    let begun = State {
        until_ms: START_MS + 120_000,
        ..begun()
    };
    assert_eq!(verdict.keepsakes, [Keepsake::State(begun)]);
    let back =
        "redirect_url=https%3A%2F%2Fapp.example.com%2F%3F__clerk_gate_state%3D0123456789abcdef&";
    let location = |verdict: &Verdict| match &verdict.decision {
        Decision::Redirect(redirect) => redirect.location.clone(),
        other => panic!("{other:?}"),
    };
    assert!(location(&verdict).contains(back), "{}", location(&verdict));
    let mut faithful = Attempt::new().page_load();
    faithful.scene.instance.continuity = Continuity::Faithful;
    let verdict = faithful.verdict();
    assert_eq!(verdict.keepsakes, []);
    assert!(!location(&verdict).contains("clerk_gate"));
}

#[test]
fn a_way_to_sign_in_is_no_journey_that_somebody_else_could_end() {
    for target in ["/", "/_gate/sign-in"] {
        let nobody = Attempt::with(|attempt| {
            attempt.token = None;
            attempt.client_uat = None;
            target.clone_into(&mut attempt.target);
        });
        let verdict = nobody.page_load().verdict();
        assert!(matches!(verdict.decision, Decision::Redirect(_)));
        assert_eq!(verdict.keepsakes, []);
    }
}

/// Tokens of page loads name no party, and this application lists its own.
fn without_party() -> Attempt {
    Attempt::with(|attempt| {
        attempt.scene.instance.authorized_parties = vec!["https://app.example.com".to_owned()];
        attempt.token = Some(token(&json!({})));
    })
}

#[test]
fn a_cookie_token_without_a_party_is_taken_if_its_session_is_sealed() {
    assert!(without_party().is_let_in());
    let cases: [Change; 6] = [
        |a| a.token = Some(token(&json!({ "azp": "https://evil.example" }))),
        |a| a.oracle.own.seal = None,
        |a| "sess_2".clone_into(&mut a.seal().session),
        |a| "user_2".clone_into(&mut a.seal().user),
        |a| a.scene.instance.continuity = Continuity::Faithful,
        |a| a.bearer = a.token.take(),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let mut attempt = without_party();
        case(&mut attempt);
        let reason = attempt.reason();
        assert_eq!(reason, "token-invalid-authorized-parties", "case {number}");
    }
}

/// A token that holds, on a route that asks for a younger one.
fn too_old() -> Attempt {
    Attempt::with(|attempt| {
        let young = Requirement::MaxTokenAge(Duration::from_secs(20));
        let route = route("young", &["/"], young);
        attempt.scene.policy = Policy::compile(vec![route], PathReading::Leniently).unwrap();
        attempt.token = Some(token(&json!({ "iat": NOW - 30 })));
    })
}

#[test]
fn a_token_that_is_too_old_for_a_route_is_renewed() {
    assert!(too_old().is_let_in());
    let page = too_old().page_load().verdict();
    assert_eq!(page.standing, Standing::Handshake);
    assert_eq!(page.cause.unwrap().to_string(), "token-too-old");
    let cases: [(&str, Change); 4] = [
        ("no seal", |a| a.oracle.own.seal = None),
        ("faithful", |a| {
            a.scene.instance.continuity = Continuity::Faithful;
        }),
        ("Clerk is away", |a| {
            a.oracle.minted = Err(MintFailure::Unavailable);
        }),
        ("the new one is as old", |a| {
            a.oracle.minted = Ok(token(&json!({ "iat": NOW - 30 })));
        }),
    ];
    for (what, case) in cases {
        let mut attempt = too_old();
        case(&mut attempt);
        assert_eq!(attempt.reason(), "token-too-old", "{what}");
    }
    let bearer = Attempt {
        bearer: too_old().token,
        ..too_old()
    };
    assert_eq!(bearer.reason(), "token-too-old");
}

#[test]
fn each_way_can_be_closed() {
    let closed = |close: fn(&mut Ways)| {
        Attempt::with(|attempt| {
            close(&mut attempt.scene.instance.ways);
            let suffix = attempt.scene.instance.key.cookie_suffix().to_owned();
            attempt.more_cookies = format!("; __refresh_{suffix}=r");
            attempt.oracle.refresh = Ok(vec![format!("__session={}", token(&json!({})))]);
        })
    };
    let came_by = |attempt: &Attempt| {
        let verdict = attempt.verdict();
        assert!(pure::is_forwarded(&verdict), "{verdict:?}");
        verdict.keepsakes.len()
    };
    // A refresh is sealed, a minted token is not.
    assert_eq!(came_by(&closed(|_| {})), 1);
    assert_eq!(came_by(&closed(|ways| ways.refresh = Way::Closed)), 0);
    let neither = closed(|ways| {
        ways.refresh = Way::Closed;
        ways.mint = Way::Closed;
    });
    assert_eq!(
        neither.reason(),
        "session-token-expired-refresh-switched-off"
    );
    // Without handshakes a page load is renewed like anything else, and no result is taken.
    let page = closed(|ways| {
        ways.refresh = Way::Closed;
        ways.handshake = Way::Closed;
    });
    assert!(page.page_load().is_let_in());
    let mut arrival = arrival(&json!({}), Some(begun()));
    arrival.scene.instance.ways.handshake = Way::Closed;
    assert_eq!(arrival.reason(), "session-token-and-uat-missing");
}

#[test]
fn a_token_that_was_made_while_the_request_waited_is_not_of_the_future() {
    let issued = |seconds: u64| {
        Attempt::with(|attempt| {
            attempt.scene.instance.clock_skew_ms = 0;
            attempt.oracle.minted = Ok(token(&json!({
                "iat": NOW + seconds, "nbf": NOW + seconds, "exp": NOW + seconds + 5,
            })));
        })
    };
    assert!(issued(1).is_let_in() && issued(10).is_let_in());
    assert_eq!(issued(60).reason(), EXPIRED);
    let mut ahead = issued(30);
    ahead.scene.instance.clock_skew_ms = 20_000;
    assert!(ahead.is_let_in(), "clerk's clock is ahead of ours");
    let mut refreshed = issued(60);
    let brought = token(&json!({ "iat": NOW + 1, "nbf": NOW + 1 }));
    let suffix = refreshed.scene.instance.key.cookie_suffix().to_owned();
    refreshed.more_cookies = format!("; __refresh_{suffix}=r");
    refreshed.oracle.refresh = Ok(vec![format!("__session={brought}")]);
    assert!(refreshed.is_let_in());
}
