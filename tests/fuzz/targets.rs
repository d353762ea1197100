//! What is done with an input, and what must hold then.

use std::fs;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clerk_gate::clerk::keys::KeySet;
use clerk_gate::clerk::webhooks::{Claim, EventError, News, WebhookSecrets};
use clerk_gate::core::decide::{Decision, Verdict};
use clerk_gate::core::jwt::Token;
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::policy::{EncodedSlash, PathReading, Policy, Preflight, Route};
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::core::reason::{Reason, RefreshFailure};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::verify::Signature;
use http::{HeaderMap, Method, Uri};
use serde_json::json;

use crate::engine::Outcome;
use crate::support::invariants::{self, ensure};
use crate::support::pages;
use crate::support::protected::{Shape, admins, fault, shapes};
use crate::support::pure::{LIVE, Oracle, SIGNER, START_MS, Scene, TEST, judge, route};

/// The longest path that is shown to the readers, in bytes.
const LONGEST_FOR_READERS: usize = 512;

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(shapes);
pub static PRODUCTION: LazyLock<Scene> = LazyLock::new(|| scene(LIVE));
static DEVELOPMENT: LazyLock<Scene> = LazyLock::new(|| scene(TEST));

fn scene(key: &str) -> Scene {
    let routes = vec![
        Route {
            encoded_slash: EncodedSlash::Keep,
            preflight: Preflight::Forward,
            ..route("home", &["/", "/public/**"], Requirement::Public)
        },
        Route {
            on_forbidden: Some("/sorry".to_owned()),
            ..admins("/admin/**")
        },
    ];
    let mut scene = Scene::of(
        key,
        Policy::compile(routes, PathReading::Leniently).unwrap(),
    );
    scene.edge.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    scene.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
    scene
}

/// A sign of a verdict: what was done and why.
pub fn sign(verdict: &Verdict) -> String {
    let decision = match &verdict.decision {
        Decision::Forward(permit) => format!("forward {}", permit.identity().len()),
        Decision::Relay(permit) => format!("relay {}", permit.path().len()),
        Decision::Redirect(_) => "redirect".to_owned(),
        Decision::Refuse(refusal) => format!("refuse {:?}", refusal.kind),
        Decision::Page(_) => "page".to_owned(),
        Decision::Serve(order) => format!("serve {:?}", order.task()),
    };
    let stricter = verdict.route.as_ref().map(|found| found.stricter.len());
    let cause = verdict.cause.as_ref().map(ToString::to_string);
    format!(
        "{decision} {cause:?} {:?} {stricter:?} {}",
        verdict.standing,
        verdict.set_cookies.len()
    )
}

pub fn path(input: &[u8]) -> Outcome {
    let raw = String::from_utf8_lossy(input);
    invariants::canonical_path(&raw)?;
    // Readers behind readers take their time, which says nothing about the gate's.
    if raw.len() <= LONGEST_FOR_READERS
        && let Some(fault) = fault(&SHAPES, &raw)
    {
        return Err(fault);
    }
    Ok(match CanonicalPath::parse(&raw) {
        Err(error) => format!("{error:?}"),
        Ok(path) => {
            let found = SHAPES.iter().map(|shape| {
                let policy = &shape.scene.policy;
                policy.find(&Method::GET, "app.example.com", &path)
            });
            let kinds = found.map(|found| {
                let kinds: Vec<_> = found.stricter.iter().map(|s| s.reading.kind).collect();
                (found.route, kinds)
            });
            format!("{:?}", kinds.collect::<Vec<_>>())
        }
    })
}

pub fn cookies(input: &[u8]) -> Outcome {
    let lines = || invariants::header_map([("cookie", input)]);
    let mut signs = String::new();
    for scene in [&*PRODUCTION, &*DEVELOPMENT] {
        let target = Uri::from_static("/public/x");
        scene.holds(&Method::POST, &target, lines(), |inputs| {
            let verdict = invariants::decides(inputs, &Oracle::keys_only())?;
            signs.push_str(&sign(&verdict));
            invariants::cookies(inputs, &verdict, input)
        })?;
    }
    Ok(signs)
}

/// Lines of a head.
fn head(text: &[u8]) -> HeaderMap {
    let lines: Vec<(String, &[u8])> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..at]).to_ascii_lowercase();
            Some((name, line[at + 1..].trim_ascii()))
        })
        .collect();
    invariants::header_map(lines.iter().map(|(name, value)| (name.as_str(), *value)))
}

pub fn forwarded(input: &[u8]) -> Outcome {
    let lines = head(input);
    invariants::strangers_change_nothing(&PRODUCTION, &lines)?;
    let mut trusted = scene(LIVE);
    trusted.peer = "10.0.0.1".parse().unwrap();
    let mut read = "unread".to_owned();
    trusted.holds(&Method::GET, &Uri::from_static("/x"), lines, |inputs| {
        let facts = inputs.facts;
        read = format!(
            "{} {:?} {:?}",
            facts.client == trusted.peer,
            facts.audience,
            facts
                .forwarded_for
                .as_ref()
                .map(|chain| chain.matches(',').count().min(3))
        );
        // Even a trusted proxy cannot make us believe in another origin.
        ensure(
            facts.origin.to_string() == "https://app.example.com",
            || facts.origin.to_string(),
        )?;
        let chain = facts.forwarded_for.clone().unwrap_or_default();
        let addresses = chain
            .split(", ")
            .all(|one| one.is_empty() || one.parse::<std::net::IpAddr>().is_ok());
        ensure(addresses, || format!("`{chain}` is no chain of addresses"))?;
        let vouched = facts.client == trusted.peer
            || chain.split(", ").any(|one| one == facts.client.to_string());
        ensure(vouched, || format!("nobody spoke of {}", facts.client))
    })?;
    Ok(read)
}

/// Tokens that are good, made with the key of this run.
static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    [
        json!({}),
        json!({ "azp": "https://app.example.com", "org_id": "org_1", "org_role": "org:admin" }),
        json!({ "v": 2, "o": { "id": "org_1", "rol": "admin", "slg": "acme" }, "fva": [1, -1] }),
    ]
    .iter()
    .map(|claims| SIGNER.token(&PRODUCTION.instance, claims))
    .collect()
});

pub fn tokens() -> Vec<Vec<u8>> {
    GOOD.iter()
        .map(|token| token.clone().into_bytes())
        .collect()
}

pub fn token(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let good = GOOD.iter().find(|good| **good == text);
    invariants::only_the_very_token(&PRODUCTION, good.map_or("", String::as_str), &text)?;
    Ok(match Token::decode(&text) {
        Err(error) => format!("{error:?}"),
        Ok(token) => format!(
            "{:?} {:?} {} {}",
            SIGNER.keys.check(&text, &token),
            token.category(),
            token.is_machine(),
            token.identity().is_some()
        ),
    })
}

pub fn key_sets() -> Vec<Vec<u8>> {
    vec![SIGNER.jwks.to_string().into_bytes()]
}

/// An event: lines of a head, an empty line, and a body.
pub fn event(input: &[u8]) -> Outcome {
    const KEY: &[u8; 24] = b"of whom nobody is told..";
    let secret = STANDARD.encode(KEY);
    let secrets = WebhookSecrets::parse([&*secret]).unwrap();
    let at = input.windows(2).position(|pair| pair == b"\n\n");
    let (lines, body) = input.split_at(at.unwrap_or(input.len()));
    let body = body.trim_ascii();
    let claim = match Claim::read(&head(lines), START_MS) {
        Ok(claim) => claim.verify(&secrets, body).map(|_| ()),
        Err(error) => Err(error),
    };
    let Err(refused) = claim else {
        return Err("an event was taken that nobody has signed".to_owned());
    };
    // The same body from somebody who knows the secret.
    let sent = START_MS / 1000;
    let content = [format!("msg_1.{sent}.").as_bytes(), body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), &content);
    let signature = format!("v1,{}", STANDARD.encode(tag.as_ref()));
    let time = sent.to_string();
    let signed = invariants::header_map([
        ("svix-id", b"msg_1".as_slice()),
        ("svix-timestamp", time.as_bytes()),
        ("svix-signature", signature.as_bytes()),
    ]);
    let claim = Claim::read(&signed, START_MS).map_err(|error| error.to_string())?;
    let event = match claim.verify(&secrets, body) {
        Err(EventError::Content) => return Ok(format!("{refused:?} none")),
        Err(error) => return Err(format!("a signed event is refused: {error}")),
        Ok(event) => event,
    };
    let news = event.news.as_ref();
    let ids = [
        news.and_then(News::session),
        news.and_then(News::user),
        news.and_then(News::organization),
    ];
    let plain = |id: &str| !id.is_empty() && id.len() <= 128 && !id.contains(['\n', '"', ' ']);
    ensure(ids.iter().flatten().all(|id| plain(id)), || {
        format!("{ids:?} are no ids")
    })?;
    ensure(event.name.is_ascii(), || event.name.clone())?;
    let kinds: Vec<bool> = ids.iter().map(Option::is_some).collect();
    Ok(format!("{refused:?} {kinds:?}"))
}

pub fn jwks(input: &[u8]) -> Outcome {
    let set = match KeySet::from_jwks(input) {
        Err(error) => return Ok(format!("{error:?}")),
        Ok(set) => set,
    };
    ensure((1..=64).contains(&set.len()), || {
        format!("{} keys", set.len())
    })?;
    ensure(set.is_part_of(&set), || {
        "a set is no part of itself".to_owned()
    })?;
    let token = Token::decode(&GOOD[0]).unwrap();
    let modulus = SIGNER.jwks["keys"][0]["n"].as_str().unwrap();
    let holds_key = serde_json::from_slice::<serde_json::Value>(input)
        .is_ok_and(|document| document.to_string().contains(modulus));
    let signature = set.check(&GOOD[0], &token);
    ensure(holds_key || signature != Signature::Good, || {
        "a key that is not there made a signature good".to_owned()
    })?;
    Ok(format!("{} {signature:?}", set.len()))
}

pub fn redirect(input: &[u8]) -> Outcome {
    let encoded: String = url::form_urlencoded::byte_serialize(input).collect();
    let text = String::from_utf8_lossy(input);
    let mut signs = String::new();
    for target in [
        format!("/_gate/sign-in?redirect_url={encoded}"),
        format!("/_gate/sign-up?{text}"),
        format!("/admin/x?__clerk_redirect_url={encoded}"),
        format!("/{text}"),
    ] {
        let Ok(target) = target.parse::<Uri>() else {
            continue;
        };
        for scene in [&*PRODUCTION, &*DEVELOPMENT] {
            let lines = head(b"sec-fetch-dest: document");
            scene.holds(&Method::GET, &target, lines, |inputs| {
                let verdict = invariants::decides(inputs, &Oracle::keys_only())?;
                signs.push_str(&sign(&verdict));
                Ok(())
            })?;
        }
    }
    Ok(signs)
}

/// Those of the tests.
pub fn configurations() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| fs::read(path).unwrap())
        .collect()
}

pub fn configuration(input: &[u8]) -> Outcome {
    invariants::configuration(&String::from_utf8_lossy(input))
}

/// A request in lines: method and target, headers, and what is answered (`!signature good`,
/// `!payload <directive>`, `!refresh <directive>`). `{good}` and the like stand for tokens.
pub fn decide(input: &[u8]) -> Outcome {
    let mut signs = String::new();
    for scene in [&*PRODUCTION, &*DEVELOPMENT] {
        signs.push_str(&decide_in(scene, input)?);
    }
    Ok(signs)
}

fn decide_in(scene: &Scene, input: &[u8]) -> Outcome {
    let seconds = START_MS / 1000;
    let mut text = String::from_utf8_lossy(input).into_owned();
    for (name, claims) in [
        ("{good}", json!({})),
        (
            "{admin}",
            json!({ "org_id": "org_1", "org_role": "org:admin" }),
        ),
        ("{pending}", json!({ "sts": "pending" })),
        (
            "{expired}",
            json!({ "iat": seconds - 100, "nbf": seconds - 100, "exp": seconds - 40 }),
        ),
        ("{early}", json!({ "nbf": seconds + 100 })),
        (
            "{handshake}",
            json!({ "handshake": ["__session=a.b.c", "__client_uat=1; Path=/"] }),
        ),
    ] {
        if text.contains(name) {
            text = text.replace(name, &SIGNER.token(&scene.instance, &claims));
        }
    }
    let first = text.lines().next().unwrap_or_default();
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    let (Ok(method), Ok(target)) = (method.parse::<Method>(), target.parse::<Uri>()) else {
        return Ok("no request".to_owned());
    };
    let said = |what: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(what))
            .collect::<Vec<_>>()
    };
    let owned = |lines: Vec<&str>| lines.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let made_up = match said("!signature ").first() {
        Some(&"good") => Some(Signature::Good),
        Some(&"bad") => Some(Signature::Bad),
        Some(&"unknown") => Some(Signature::Unchecked(Reason::JwkKidMismatch)),
        Some(&"none") => Some(Signature::Unchecked(Reason::JwkRemoteFailedToLoad)),
        _ => None,
    };
    let (payload, refresh) = (owned(said("!payload ")), owned(said("!refresh ")));
    let good = std::cell::Cell::new(false);
    let check = |raw: &str, token: &Token| {
        let signature = made_up.unwrap_or_else(|| SIGNER.keys.check(raw, token));
        good.set(good.get() || signature == Signature::Good);
        signature
    };
    let oracle = Oracle {
        signature: &check,
        payload: if payload.is_empty() {
            Err(())
        } else {
            Ok(payload)
        },
        refresh: if refresh.is_empty() {
            Err(RefreshFailure::Unreachable)
        } else {
            Ok(refresh)
        },
        // Whoever a machine's token stands for is on Clerk's word, not on a signature.
        machine: Err(Reason::TokenVerificationUnavailable),
        ..Oracle::keys_only()
    };
    let mut seen = "unread".to_owned();
    scene.holds(&method, &target, head(text.as_bytes()), |inputs| {
        let verdict = invariants::decides(inputs, &oracle)?;
        seen = sign(&verdict);
        invariants::only_good_signatures_open(inputs, &verdict, good.get())?;
        // Nobody gets in by another request's verdict: the same again, without any key.
        let nothing = Oracle {
            signature: &|_, _| Signature::Bad,
            ..Oracle::keys_only()
        };
        let verdict = judge(inputs, &nothing)?;
        invariants::only_good_signatures_open(inputs, &verdict, false)
    })?;
    Ok(seen)
}

/// A page, which arrives in pieces of as many bytes as its first one says.
pub fn page(input: &[u8]) -> Outcome {
    let size = input
        .first()
        .copied()
        .map_or(1, |byte| usize::from(byte).max(1));
    pages::nothing_is_lost(input, pages::in_pieces(input, size))
}
