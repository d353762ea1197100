//! Every combination of page, method, origin and credential, decided without a network: what is ordered
//! is the person's own.

use std::sync::Arc;

use clerk_gate::core::continuity::{OwnCookies, Seal};
use clerk_gate::core::decide::{Decision, Task};
use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::template::Template;
use clerk_gate::core::verify::Signature;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HeaderName, ORIGIN};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::support::invariants;
use crate::support::pure::{Oracle, SIGNER, START_MS, Scene};

const PAGES: [&str; 9] = [
    "sign-out",
    "sign-out/all",
    "sessions",
    "sessions/sess_1/revoke",
    "sessions/sess_2/revoke",
    "sessions/sess_2/switch",
    "sessions/revoke-others",
    "token",
    "token/app",
];

fn seal() -> Seal {
    Seal {
        session: "sess_1".to_owned(),
        user: "user_1".to_owned(),
        first_ms: START_MS,
        sealed_ms: START_MS,
    }
}

#[test]
fn only_the_person_before_the_browser_has_anything_done() {
    let policy = Policy::compile(Vec::new(), PathReading::Leniently).unwrap();
    let scene = Scene::with(policy.with_templates(vec![Arc::new(Template::new("app"))]));
    let origins = [
        None,
        Some("https://app.example.com"),
        Some("null"),
        Some("https://evil.example"),
        Some("http://app.example.com"),
    ];
    let mut tokens = Vec::new();
    for claims in [
        json!({}),
        json!({ "act": { "sub": "user_operator" } }),
        json!({ "sts": "pending" }),
        json!({ "exp": START_MS / 1000 - 60 }),
    ] {
        tokens.push(SIGNER.token(&scene.instance, &claims));
    }
    let (mut asked, mut ordered) = (0, 0);
    for page in PAGES {
        let target = format!("/_gate/{page}").parse().unwrap();
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT] {
            for origin in origins {
                for site in [None, Some("same-origin"), Some("same-site")] {
                    for token in &tokens {
                        for (by_cookie, by_header) in [(true, false), (false, true), (true, true)] {
                            for (good, sealed) in
                                [(true, true), (true, false), (false, true), (false, false)]
                            {
                                let mut headers = HeaderMap::new();
                                headers.insert(ACCEPT, "text/html".parse().unwrap());
                                if let Some(origin) = origin {
                                    headers.insert(ORIGIN, origin.parse().unwrap());
                                }
                                if let Some(site) = site {
                                    let name = HeaderName::from_static("sec-fetch-site");
                                    headers.insert(name, site.parse().unwrap());
                                }
                                if by_cookie {
                                    let uat = START_MS / 1000 - 600;
                                    let jar = format!(
                                        "__session={token}; __client_uat={uat}; __Host-clerk-gate-seal_naoXFJnI=x"
                                    );
                                    headers.insert(COOKIE, jar.parse().unwrap());
                                }
                                if by_header {
                                    let value = format!("Bearer {token}").parse().unwrap();
                                    headers.insert(AUTHORIZATION, value);
                                }
                                let check = |_: &str, _: &_| {
                                    if good {
                                        Signature::Good
                                    } else {
                                        Signature::Bad
                                    }
                                };
                                let oracle = Oracle {
                                    signature: &check,
                                    own: OwnCookies {
                                        seal: sealed.then(seal),
                                        state: None,
                                    },
                                    ..Oracle::keys_only()
                                };
                                asked += 1;
                                let held = scene.holds(&method, &target, headers, |inputs| {
                                    let verdict = invariants::decides(inputs, &oracle)?;
                                    if let Decision::Serve(order) = &verdict.decision {
                                        ordered += usize::from(order.owner().is_some());
                                        // A token alone ends its own session, and is given back.
                                        let little = matches!(
                                            order.task(),
                                            Task::Token(Some(_)) | Task::SignOut(_)
                                        ) && page != "sign-out/all";
                                        let acts = token == &tokens[1];
                                        let fair =
                                            sealed || little || acts || order.owner().is_none();
                                        invariants::ensure(fair, || format!("{order:?}"))?;
                                    }
                                    invariants::only_good_signatures_open(inputs, &verdict, good)
                                });
                                held.unwrap();
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(asked, 9 * 4 * 5 * 3 * 4 * 3 * 4);
    assert!(ordered > 100, "{ordered} orders");
}
