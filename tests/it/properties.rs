//! Sentences that begin with "never" or "always", for inputs that nobody thought of.

use clerk_gate::clerk::keys::KeySet;
use clerk_gate::core::authorization::{Asked, Level, Reverification};
use clerk_gate::core::continuity::{OwnCookies, Seal, State};
use clerk_gate::core::identity_headers::{HeaderPlan, MappedHeader};
use clerk_gate::core::jwt::Token;
use clerk_gate::core::machine::{TokenType, TokenTypes};
use clerk_gate::core::persona;
use clerk_gate::core::policy::{OnSignedOut, PathReading, Policy, Route};
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::core::question::{MintFailure, TokenStanding};
use clerk_gate::core::reason::{Reason, RefreshFailure};
use clerk_gate::core::requirement::{Caller, ClaimRule, ClaimTest, Person, Requirement};
use clerk_gate::core::signed_assertion::AssertionPlan;
use clerk_gate::core::verify::Signature;
use http::{HeaderMap, HeaderName, Method, Uri};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

use crate::support::invariants::{self, Holds};
use crate::support::protected::admins;
use crate::support::pure::{
    LIVE, Oracle, SIGNER, START_MS, Scene, TEST, is_forwarded, journey, judge, route,
};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn holds(outcome: Holds) -> Result<(), TestCaseError> {
    outcome.map_err(TestCaseError::fail)
}

/// `/` and `/public/**` open, `/admin/**` for admins with a page for others, the rest signed-in.
fn scene(key: &str) -> Scene {
    let policy = Policy::compile(
        vec![
            route("home", &["/", "/public/**"], Requirement::Public),
            Route {
                on_forbidden: Some("/sorry?why=role".to_owned()),
                ..admins("/admin/**")
            },
            Route {
                on_signed_out: OnSignedOut::Address("/hello".to_owned()),
                ..route("club", &["/club/**"], Requirement::SignedIn)
            },
        ],
        PathReading::Leniently,
    );
    let mut scene = Scene::of(key, policy.unwrap());
    scene.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
    scene
}

/// A path or a piece of one, with everything that means something somewhere.
fn target() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "/",
        "//",
        "/admin",
        "/public",
        "/club",
        "/_gate/sign-in",
        "/_gate/me",
        "/__clerk",
        "..",
        ".",
        ";x",
        "%2e",
        "%2F",
        "%5C",
        "\\",
        "@",
        ":",
        "evil.example",
        "%0d%0a",
        "%09",
        "é",
        "%E9",
        "?",
        "#",
        "&",
        "=",
        "http://",
        "https:",
        "x",
        "%25",
        "%3F",
        "[",
        "]",
        "|",
        "\"",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat())),
        "/\\PC{0,40}",
    ]
}

/// A return address that would like to leave.
fn way_back() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "/",
        "//",
        "\\",
        "/\\",
        "http:",
        "https:",
        "https://",
        "javascript:",
        "data:",
        "evil.example",
        "app.example.com",
        "@",
        ":",
        ".",
        "..",
        "/.//",
        "\t",
        "\n",
        "\r",
        " ",
        "%2F",
        "%5C",
        "%09",
        "?",
        "#",
        "&redirect_url=https://evil.example",
        "user:pass@",
        "[::1]",
        ":8443",
        "。",
        "／",
        "%00",
        "x",
    ]);
    prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

/// Any claims, with those that count among them.
fn claims() -> impl Strategy<Value = Value> {
    let value = || {
        prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            select(vec![
                "user_2",
                "org:admin",
                "admin",
                "pending",
                "active",
                "a\r\nx-user-id: root",
                "\0",
                "é"
            ])
            .prop_map(Value::from),
            prop::collection::vec(-2..100_i64, 0..3).prop_map(Value::from),
            Just(
                json!({ "id": "org_1", "rol": "admin", "slg": "acme", "per": "read", "fpm": "3" })
            ),
            Just(json!({ "sub": "user_9" })),
        ]
    };
    let name = select(vec![
        "sub",
        "sid",
        "exp",
        "iat",
        "nbf",
        "iss",
        "azp",
        "sts",
        "v",
        "o",
        "org_id",
        "org_role",
        "org_permissions",
        "org_slug",
        "fva",
        "act",
        "fea",
        "pla",
        "tier",
    ]);
    prop::collection::vec((name, value()), 0..6).prop_map(|pairs| {
        Value::Object(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    })
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let has = |asked: Asked| Just(Requirement::Has(asked));
    let leaf = prop_oneof![
        Just(Requirement::Public),
        Just(Requirement::SignedIn),
        Just(Requirement::NotImpersonated),
        has(Asked {
            role: Some("org:admin".into()),
            ..Asked::default()
        }),
        has(Asked {
            permission: Some("org:x:read".into()),
            ..Asked::default()
        }),
        has(Asked {
            plan: Some("u:gold".into()),
            ..Asked::default()
        }),
        has(Asked {
            reverification: Some(Reverification {
                level: Level::FirstFactor,
                after_minutes: 10.0
            }),
            ..Asked::default()
        }),
        (0..200_u64).prop_map(|minutes| Requirement::MaxAge(Duration::from_mins(minutes))),
        (0..200_u64).prop_map(|seconds| Requirement::MaxTokenAge(Duration::from_secs(seconds))),
        Just(Requirement::Claim(ClaimRule {
            path: vec!["tier".into()],
            test: ClaimTest::Equals(json!("gold")),
        })),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Requirement::All),
            prop::collection::vec(inner, 0..3).prop_map(Requirement::Any),
        ]
    })
}

/// Header lines as clients send them, and as they should not.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = select(vec![
        "x-user-id",
        "x_user_id",
        "X-Org-Role",
        "x.org.role",
        "xuserid",
        "x-user--id",
        "remote-user",
        "remote_user",
        "connection",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "x-real-ip",
        "accept",
        "sec-fetch-dest",
        "referer",
        "x-requested-with",
        "origin",
        "cookie",
        "authorization",
        "te",
        "upgrade",
        "x-clerk-auth-status",
        "x-original-url",
        "x-http-method-override",
    ]);
    let value = prop_oneof![
        select(vec![
            "root",
            "x-user-id",
            "x-user-id, x-org-role, close",
            "upgrade",
            "10.0.0.1",
            "evil.example",
            "https",
            "text/html",
            "document",
            "https://evil.example/",
            "Bearer a.b.c",
            "websocket",
            "__session=a.b.c; __client_uat=1",
            "__clerk_handshake_nonce=n; a=1",
            "__clerk_db_jwt=d; __client_uat=5",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec((name, value), 0..8).prop_map(|lines| {
        let lines: Vec<(String, Vec<u8>)> = lines
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        invariants::header_map(
            lines
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice())),
        )
    })
}

/// What the gate's own cookies may hold, made for the session of most tokens or for another.
fn own_cookies() -> impl Strategy<Value = OwnCookies> {
    let times = || select(vec![0, START_MS - 60_000, START_MS, START_MS + 60_000]);
    let ids = select(vec![
        ("sess_1", "user_1"),
        ("sess_2", "user_1"),
        ("sess_1", "user_2"),
    ]);
    let seal = (ids, times(), times()).prop_map(|((session, user), first_ms, sealed_ms)| Seal {
        session: session.to_owned(),
        user: user.to_owned(),
        first_ms,
        sealed_ms,
    });
    let state = times().prop_map(|until_ms| State {
        journey: journey(),
        until_ms,
    });
    (prop::option::of(seal), prop::option::of(state))
        .prop_map(|(seal, state)| OwnCookies { seal, state })
}

/// What minting may come to.
fn minted() -> impl Strategy<Value = Result<String, MintFailure>> {
    prop_oneof![
        select(vec![
            MintFailure::Ended,
            MintFailure::Unavailable,
            MintFailure::Refused
        ])
        .prop_map(Err),
        claims().prop_map(|claims| Ok(SIGNER.token(&scene(LIVE).instance, &claims))),
    ]
}

/// Set-Cookie strings as they come from Clerk, and others.
fn directives() -> impl Strategy<Value = Vec<String>> {
    let good = SIGNER.token(&scene(LIVE).instance, &json!({}));
    let directive = prop_oneof![
        Just(format!("__session={good}; Path=/")),
        Just("__session=a.b.c".to_owned()),
        Just("__client_uat=1; Path=/".to_owned()),
        "\\PC{0,20}",
    ];
    prop::collection::vec(directive, 0..3)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_canonical_path_is_its_own_spelling(raw in target(), other in "\\PC{0,60}") {
        holds(invariants::canonical_path(&raw))?;
        holds(invariants::canonical_path(&other))?;
    }

    #[test]
    fn identity_headers_of_a_client_never_arrive(lines in headers(), claims in claims(), signed_in: bool) {
        let mut scene = scene(LIVE);
        scene.headers = HeaderPlan::new(vec![MappedHeader {
            name: HeaderName::from_static("remote-user"),
            claim: vec!["tier".to_owned()],
        }]);
        let plan = AssertionPlan {
            issuers: Vec::new(),
            audiences: Vec::new(),
            lifetime_s: 60,
            keys: Arc::default(),
        };
        scene.headers = scene.headers.asserting(Arc::new(plan));
        let mut lines = lines;
        if signed_in {
            let token = SIGNER.token(&scene.instance, &claims);
            lines.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let target = Uri::from_static("/public/x");
        holds(scene.holds(&Method::GET, &target, lines, |inputs| {
            let verdict = judge(inputs, &Oracle::keys_only())?;
            invariants::assertion_is_of_the_request(inputs, &verdict)?;
            invariants::identity_is_ours(inputs, &verdict)
        }))?;
    }

    #[test]
    fn a_changed_token_never_lets_anybody_in(claims in claims(), at: Index, to: u8, extra in "[A-Za-z0-9_=. -]{0,3}") {
        let scene = scene(LIVE);
        let good = SIGNER.token(&scene.instance, &claims);
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        for other in [changed, format!("{good}{extra}"), format!("{extra}{good}"), good[..at].to_owned()] {
            if other != good {
                holds(invariants::only_the_very_token(&scene, &good, &other))?;
            }
        }
    }

    #[test]
    fn an_odd_key_takes_no_good_one_away(odd in claims(), kid in select(vec!["ins_2", "", "é"]), first: bool) {
        let mut odd = odd;
        odd["kid"] = kid.into();
        odd["kty"] = "RSA".into();
        let good = SIGNER.jwks["keys"][0].clone();
        let keys = if first { json!([odd, good]) } else { json!([good, odd]) };
        let set = KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        let token = SIGNER.token(&scene(LIVE).instance, &json!({}));
        prop_assert_eq!(set.check(&token, &Token::decode(&token).unwrap()), Signature::Good);
    }

    #[test]
    fn a_further_requirement_lets_no_more_through(claims in claims(), one in requirement(), other in requirement()) {
        let scene = scene(LIVE);
        let Ok(token) = Token::decode(&SIGNER.token(&scene.instance, &claims)) else {
            return Ok(());
        };
        let both = Requirement::All(vec![one.clone(), other.clone()]);
        prop_assert!(!both.is_open() || (one.is_open() && other.is_open()));
        if let Some(identity) = token.identity() {
            let person = Caller::Person(Person { identity, token: &token, now_ms: START_MS });
            let [one, other, both] = [&one, &other, &both].map(|each| each.judge(person).is_ok());
            prop_assert_eq!(both, one && other);
        }
    }

    #[test]
    fn no_machine_meets_what_names_no_kind_of_token(requirement in requirement(), kind in 0..3_usize, scopes: Vec<String>) {
        let kinds = [TokenType::ApiKey, TokenType::M2m, TokenType::OAuth];
        let mut machine = persona::machine(kinds[kind]);
        machine.scopes = scopes;
        let machine = Caller::Machine(&machine);
        prop_assert_eq!(requirement.judge(machine).is_ok(), requirement.is_open());
        // Nor does it where another kind is named.
        let other = Requirement::Token(TokenTypes::of(&[kinds[(kind + 1) % 3], TokenType::Session]));
        let named = Requirement::All(vec![requirement, other]);
        prop_assert!(named.judge(machine).is_err());
    }

    #[test]
    fn time_only_takes_away(claims in claims(), requirement in requirement(), times in (0..100_000_u64, 0..100_000_u64)) {
        // From the moment on at which a token has been issued and is valid.
        let mut scene = scene(LIVE);
        let token = SIGNER.token(&scene.instance, &claims);
        let number = |name| Token::decode(&token).ok().and_then(|token| token.number(name));
        let begun = START_MS / 1000;
        let valid = |name| number(name).is_none_or(|time| time <= f64::from(u32::try_from(begun).unwrap()));
        prop_assume!(valid("iat") && valid("nbf"));
        scene.policy = Policy::compile(vec![route("all", &["/**"], requirement)], PathReading::Leniently).unwrap();
        let mut let_in = |after: u64| {
            scene.now_ms = START_MS + after;
            let bearer = format!("Bearer {token}");
            let lines = invariants::header_map([("authorization", bearer.as_bytes())]);
            scene.with_facts(&Method::GET, &Uri::from_static("/x"), lines, |inputs| {
                judge(inputs, &Oracle::keys_only()).is_ok_and(|verdict| is_forwarded(&verdict))
            })
        };
        let (early, late) = (times.0.min(times.1), times.0.max(times.1));
        let (early, late) = (let_in(early), let_in(late));
        prop_assert!(early || !late);
    }

    #[test]
    fn redirects_never_leave(path in target(), back in way_back(), how in 0..5_u8, lines in headers(), development: bool) {
        let scene = scene(if development { TEST } else { LIVE });
        let encoded: String = url::form_urlencoded::byte_serialize(back.as_bytes()).collect();
        let target = match how {
            0 => format!("/_gate/sign-in?redirect_url={encoded}"),
            1 => format!("/_gate/sign-up?a=1&redirect_url={encoded}&redirect_url=https://evil.example"),
            2 => format!("/admin/x?redirect_url={encoded}&__clerk_db_jwt=x"),
            3 => format!("/club?__clerk_redirect_url={encoded}"),
            _ => path,
        };
        let Ok(target) = target.parse::<Uri>() else {
            return Ok(());
        };
        let mut lines = lines;
        lines.insert("sec-fetch-dest", "document".parse().unwrap());
        if how == 2 {
            let token = SIGNER.token(&scene.instance, &json!({}));
            lines.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        holds(scene.holds(&Method::GET, &target, lines, |inputs| {
            invariants::decides(inputs, &Oracle::keys_only()).map(drop)
        }))?;
    }

    #[test]
    fn a_verdict_comes_for_everything_and_is_the_same_again(
        path in target(),
        method in select(vec![Method::GET, Method::HEAD, Method::POST, Method::OPTIONS]),
        lines in headers(),
        claims in claims(),
        cookie in any::<bool>(),
        development in any::<bool>(),
        signature in select(vec![
            Signature::Good,
            Signature::Bad,
            Signature::Unchecked(Reason::JwkRemoteFailedToLoad),
            Signature::Unchecked(Reason::JwkKidMismatch),
        ]),
        payload in prop::option::of(directives()),
        refresh in prop::option::of(directives()),
        own in own_cookies(),
        minted in minted(),
        standing in select(vec![TokenStanding::Stands, TokenStanding::Revoked, TokenStanding::Outdated]),
    ) {
        let scene = scene(if development { TEST } else { LIVE });
        let Ok(target) = path.parse::<Uri>() else {
            return Ok(());
        };
        let mut lines = lines;
        if cookie {
            let token = SIGNER.token(&scene.instance, &claims);
            let suffix = scene.instance.key.cookie_suffix();
            let cookies = format!(
                "__session={token}; __client_uat=1; __clerk_db_jwt=d; __refresh_{suffix}=r; \
                 __Host-clerk-gate-seal_{suffix}=s; __Host-clerk-gate-state_0123456789abcdef_{suffix}=s"
            );
            lines.append("cookie", cookies.parse().unwrap());
        }
        let oracle = Oracle {
            signature: &|_, _| signature,
            payload: payload.ok_or(()),
            refresh: refresh.ok_or(RefreshFailure::Unreachable),
            own,
            minted,
            standing,
            ..Oracle::keys_only()
        };
        holds(scene.holds(&method, &target, lines, |inputs| {
            let verdict = invariants::decides(inputs, &oracle)?;
            invariants::seals_only_what_came_from_clerk(&verdict)?;
            invariants::only_good_signatures_open(inputs, &verdict, signature == Signature::Good)
        }))?;
    }

    #[test]
    fn forwarded_headers_of_strangers_change_nothing(lines in headers(), trusted: bool) {
        let mut scene = scene(LIVE);
        if trusted {
            scene.edge.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        }
        holds(invariants::strangers_change_nothing(&scene, &lines))?;
    }

    #[test]
    fn cookies_of_clerk_stay_and_others_go_on(line in prop::collection::vec(
        prop_oneof![
            select(vec![
                "__session=x", "__session_abc=x", "__clerk_db_jwt=d", "__client=c", "__client_uat=1", "a=1", "b=\"2\"",
                "__refresh_x=r", "=", "a", " __session = y", "__sessions=mine", ";", "a==b", "c=%3B__session=z",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..8),
        ],
        0..6,
    )) {
        let line = line.join(&b';');
        let scene = scene(LIVE);
        let lines = invariants::header_map([("cookie", line.as_slice())]);
        holds(scene.holds(&Method::GET, &Uri::from_static("/public"), lines, |inputs| {
            let verdict = judge(inputs, &Oracle::keys_only())?;
            invariants::cookies(inputs, &verdict, &line)
        }))?;
    }

    #[test]
    fn a_configuration_that_is_accepted_compiles(
        routes in prop::collection::vec((
            "[a-z]{1,4}",
            prop::collection::vec(select(vec![
                "/", "/**", "/admin/**", "/a/*", "/*.css", "/{a,b}/x", "/{,x}", "/é", "/a b", "/A.B/**", "/a**", "/(x)",
                "/{a", "/a/../b", "/%41", "/%zz", "x", "", "/a::b", "/*/*/**/c", "/a%2Fb", "/_gate/x",
            ]), 1..3),
            select(vec![
                "\"public\"", "\"signed-in\"", "\"org:admin\"", "{ role = \"org:x\" }", "{ all = [\"signed-in\"] }",
                "{ any = [] }", "{ max-age = \"1h\" }", "{ max-age = \"-1h\" }", "{}", "7", "{ plan = \"gold\" }",
                "{ claim = { path = \"a.b\", equals = 1 } }", "{ reverified = \"strict\" }",
            ]),
            select(vec![
                "", "authenticate = false", "hide = true", "methods = [\"GET\"]", "host = \"*.example.com\"",
                "encoded-slash = \"keep\"", "on-signed-out = \"/x\"", "on-forbidden = \"//evil\"", "upstream = \"http://x\"",
                "unknown = 1", "methods = []", "body-size = \"1EiB\"",
            ]),
        ), 0..4),
        top in select(vec!["", "public-url = \"https://app.example.com\"", "listen = 7", "trusted-proxies = [\"::/0\"]"]),
    ) {
        use std::fmt::Write as _;
        let mut text = format!("{top}\n[clerk]\npublishable-key = \"{TEST}\"\n[upstream]\nurl = \"http://127.0.0.1:3000\"\n");
        for (name, paths, require, more) in routes {
            writeln!(text, "[[route]]\nname = \"{name}\"\npath = {paths:?}\nrequire = {require}\n{more}").unwrap();
        }
        holds(invariants::configuration(&text).map(drop))?;
    }
}
