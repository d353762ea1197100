//! `auth.protect()`: what the client gets on a protected route, by way of `decide`.
//!
//! A route of the gate stands for the handler that was recorded, with `hide = true`, since
//! `protect` never says 403.

use std::collections::{BTreeMap, BTreeSet};

use clerk_gate::core::auth::{self, Outcome};
use clerk_gate::core::decide::{self, Decision, Inputs, Step, Verdict, Webhooks};
use clerk_gate::core::identity_headers::HeaderPlan;
use clerk_gate::core::instance::{Instance, PendingSessions};
use clerk_gate::core::machine::Accepts;
use clerk_gate::core::policy::{Disclosure, EncodedSlash, OnSignedOut, PathReading, Policy, Route};
use clerk_gate::core::reason::{Cause, Reason};
use clerk_gate::core::redirect::{self, Destination};
use clerk_gate::core::reply;
use clerk_gate::core::requirement::Requirement;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use super::has::asked;
use super::row::Row;
use crate::support::route;
use crate::support::rows::{self, FakeApi};

/// Rows that come out as recorded.
const EQUAL: usize = 383;

/// Rows that differ under a rule of the deviations.
const DEVIATING: usize = 142;

/// The route that stands for a recorded handler.
pub fn handler(policy: &Value) -> Option<Route> {
    let mut parts = Vec::new();
    match policy["do"].as_str()? {
        "nothing" => parts.push(Requirement::Public),
        "protect" => {
            if let Some(list) = policy["anyOf"].as_array() {
                let each: Option<Vec<_>> = list.iter().map(asked).collect();
                parts.push(Requirement::Any(
                    each?.into_iter().map(Requirement::Has).collect(),
                ));
            } else if policy["params"].is_object() {
                parts.push(Requirement::Has(asked(&policy["params"])?));
            }
            if parts.is_empty() {
                parts.push(Requirement::SignedIn);
            }
            if let Some(types) = rows::token_types(&policy["options"]["token"]) {
                parts.push(Requirement::Token(types));
            }
        }
        other => panic!("an unknown handler: {other}"),
    }
    let requirement = match parts.len() {
        1 => parts.remove(0),
        _ => Requirement::All(parts),
    };
    let mut route = route("everything", &["/**"], requirement);
    route.disclosure = Disclosure::Hidden;
    route.encoded_slash = EncodedSlash::Keep;
    let address = |name: &str| policy["options"][name].as_str().map(str::to_owned);
    if let Some(address) = address("unauthenticatedUrl") {
        route.on_signed_out = OnSignedOut::Address(address);
    }
    route.on_forbidden = address("unauthorizedUrl");
    Some(route)
}

/// What the client gets, in the words of the table.
struct Answer {
    kind: &'static str,
    location: Option<String>,
    set_cookies: Vec<String>,
    reason: Option<String>,
    challenge: Option<String>,
}

fn judge(row: &Row<'_>) -> Option<Answer> {
    match row.recorded["policy"]["do"].as_str()? {
        "redirectToSignIn" => redirected(row, Destination::SignIn),
        "redirectToSignUp" => redirected(row, Destination::SignUp),
        _ => protected(row),
    }
}

/// A route of the gate in place of the handler.
fn protected(row: &Row<'_>) -> Option<Answer> {
    let routes = vec![handler(&row.recorded["policy"])?];
    let policy = Policy::compile(routes, PathReading::Exactly).unwrap();
    row.put(|facts, instance, progress| {
        let mut instance: Instance = instance.clone();
        instance.pending = PendingSessions::SignedOut;
        let inputs = Inputs {
            facts,
            instance: &instance,
            policy: &policy,
            headers: &HeaderPlan::default(),
            pages_prefix: "/_gate/",
            webhooks: Webhooks::NotTaken,
            now_ms: row.now_ms,
        };
        match decide::decide(inputs, progress) {
            Step::Ask(question) => Err(question),
            Step::Done(verdict) => Ok(answer(&verdict)),
        }
    })
}

/// The helper that sends whoever is nobody to a page of Clerk's, whatever they asked for.
fn redirected(row: &Row<'_>, destination: Destination) -> Option<Answer> {
    row.put(|facts, instance, progress| {
        let state = auth::authenticate(facts, instance, Accepts::Any, row.now_ms, progress)?;
        let set_cookies = state.set_cookies.clone();
        let redirect = |location: String, reason: Option<&Cause>| Answer {
            kind: "redirect",
            location: Some(location),
            set_cookies: set_cookies.clone(),
            reason: reason.map(ToString::to_string),
            challenge: None,
        };
        let reason = match &state.outcome {
            Outcome::Redirect(away) => {
                return Ok(redirect(away.location.clone(), away.cause.as_ref()));
            }
            Outcome::SignedOut(cause) => Some(cause),
            _ => None,
        };
        let person = state.session(PendingSessions::SignedOut).is_some();
        if person {
            return Ok(Answer {
                kind: "pass",
                location: None,
                set_cookies,
                reason: None,
                challenge: None,
            });
        }
        let pending = matches!(&state.outcome, Outcome::SignedIn(_));
        let destination = match destination {
            Destination::SignIn if pending => Destination::Tasks,
            Destination::SignUp if pending => Destination::SignUpTasks,
            other => other,
        };
        let base = facts.url().unwrap();
        let back = match row.recorded["policy"].get("returnBackUrl") {
            None => Some(base.clone()),
            Some(Value::String(address)) => Some(base.join(address).unwrap()),
            Some(_) => None,
        };
        let browser = progress.credentials().unwrap().dev_browser.plain.as_deref();
        let url =
            redirect::sign_in_url(instance, destination, &base, back.as_ref(), browser).unwrap();
        Ok(redirect(url.into(), reason))
    })
}

fn answer(verdict: &Verdict) -> Answer {
    let mut challenge = None;
    let (kind, location) = match &verdict.decision {
        Decision::Forward(_) => ("pass", None),
        Decision::Relay(_) => ("relay", None),
        Decision::Redirect(redirect) => ("redirect", Some(redirect.location.clone())),
        // The SDK throws over a result that it cannot trust, which is an error 500.
        Decision::Refuse(refusal) if refusal.cause.reason == Reason::HandshakeInvalid => {
            ("threw", None)
        }
        Decision::Refuse(refusal) => {
            let reply = reply::reply(refusal, "r1");
            let mut headers = reply.headers.into_iter();
            challenge = headers
                .find(|(name, _)| *name == WWW_AUTHENTICATE)
                .map(|(_, value)| value.to_str().unwrap().to_owned());
            match reply.status {
                StatusCode::UNAUTHORIZED => ("unauthorized", None),
                StatusCode::NOT_FOUND => ("not-found", None),
                _ => ("refused", None),
            }
        }
        Decision::Page(_) => ("page", None),
        Decision::Serve(_) => ("serve", None),
    };
    Answer {
        kind,
        location,
        set_cookies: verdict.set_cookies.clone(),
        reason: verdict.cause.as_ref().map(ToString::to_string),
        challenge,
    }
}

fn difference(row: &Value, answer: &Answer) -> Option<String> {
    let expect = &row["expect"];
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: &Value, is: Value| {
        if *wanted != is {
            found.push(format!("{what}: {wanted} -> {is}"));
        }
    };
    compare("kind", &expect["kind"], answer.kind.into());
    if expect["kind"] != "threw" {
        compare("location", &expect["location"], json!(answer.location));
        compare(
            "set-cookie",
            &expect["setCookie"],
            json!(answer.set_cookies),
        );
    }
    // What the SDK says of the session, the gate says too; why somebody may not, only the gate.
    let said = expect["headers"]["x-clerk-auth-reason"].as_str();
    let said = said.map(|reason| reason.trim_start_matches("protect-rewrite, "));
    if let Some(reason) = said.filter(|reason| *reason != "protect-rewrite") {
        compare("reason", &reason.into(), json!(answer.reason));
    }
    // Every 401 of the gate has a challenge; the SDK's only says where OAuth clients read on.
    if let Some(challenge) = expect["headers"].get("www-authenticate") {
        compare("www-authenticate", challenge, json!(answer.challenge));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[test]
fn every_recorded_row_of_protect_is_equal_or_a_written_deviation() {
    let api = FakeApi::load();
    let table = rows::table("protect");
    let now_ms = table["now"].as_u64().unwrap() * 1000;
    let cases = table["cases"].as_array().unwrap();
    let mut equal = 0;
    let mut differing = BTreeMap::new();
    let mut passed_beyond = Vec::new();
    for recorded in cases {
        let id = recorded["id"].as_str().unwrap();
        let judged = Row::new(recorded, &api, now_ms).and_then(|row| judge(&row));
        let Some(answer) = judged else {
            differing.insert(id.to_owned(), "cannot be put to the core".to_owned());
            continue;
        };
        if answer.kind == "pass" && recorded["expect"]["kind"] != "pass" {
            passed_beyond.push(id);
        }
        match difference(recorded, &answer) {
            None => equal += 1,
            Some(text) => drop(differing.insert(id.to_owned(), text)),
        }
    }
    let ids = cases
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned());
    let ids: BTreeSet<String> = ids.collect();
    super::assert_as_written("protect.json", &differing, &ids);
    println!(
        "protect.json: replayed {}, equal {equal}, deviating by decision {}",
        cases.len(),
        differing.len()
    );
    assert_eq!((equal, differing.len()), (EQUAL, DEVIATING));
    assert!(passed_beyond.is_empty(), "{passed_beyond:?}");
}
