//! Verdicts recorded from Clerk's own SDK, replayed against the pure core.

mod has;
mod protect;
mod row;

pub use protect::handler;

use std::collections::{BTreeMap, BTreeSet};

use clerk_gate::core::auth::{self, AuthState, Outcome};
use clerk_gate::core::decide::Standing;
use clerk_gate::core::identity::Identity;
use clerk_gate::core::jwt::Token;
use clerk_gate::core::machine::{Machine, TokenType};
use clerk_gate::core::reason::{Cause, Reason};
use clerk_gate::core::reply;
use serde_json::{Value, json};

use crate::support::rows::{self, FakeApi};
use row::Row;

/// Rows that come out as recorded.
const EQUAL: usize = 1057;

/// Rows that differ under a rule of the deviations.
const DEVIATING: usize = 96;

/// Rows with CORS headers, which the gate leaves to the application (deviations, D10).
const WITH_CORS: usize = 59;

/// A state in the words of the tables.
struct Shown<'s> {
    status: &'static str,
    cause: Option<&'s Cause>,
    location: Option<&'s str>,
}

fn shown(state: &AuthState) -> Shown<'_> {
    let (status, cause, location) = match &state.outcome {
        Outcome::SignedIn(_) | Outcome::Machine(_) => ("signed-in", None, None),
        Outcome::SignedOut(cause) => ("signed-out", Some(cause), None),
        Outcome::Redirect(redirect) => {
            let status = match &redirect.cause {
                None => "signed-in",
                Some(cause) if cause.reason == Reason::SessionTokenMissing => "signed-out",
                Some(_) => "handshake",
            };
            (status, redirect.cause.as_ref(), Some(&*redirect.location))
        }
        Outcome::Broken(_) => ("threw", None, None),
    };
    Shown {
        status,
        cause,
        location,
    }
}

/// How a state differs from what was recorded.
pub fn difference(row: &Value, state: &AuthState) -> Option<String> {
    let expect = &row["expect"];
    let shown = shown(state);
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: &Value, is: Value| {
        // No permission is none, whichever way it is written.
        let nothing = |value: &Value| value.is_null() || *value == json!([]);
        let same = *wanted == is || (what == "orgPermissions" && nothing(wanted) && nothing(&is));
        if !same {
            found.push(format!("{what}: {wanted} -> {is}"));
        }
    };
    compare("status", &expect["status"], shown.status.into());
    if expect["status"] == "threw" {
        return (!found.is_empty()).then(|| found.join("; "));
    }
    let reason = shown.cause.map(ToString::to_string);
    compare("reason", &expect["reason"], json!(reason));
    let kind = state.token_type.map(TokenType::as_str);
    compare("token type", &expect["tokenType"], json!(kind));
    let cookies = expect.get("setCookie").cloned().unwrap_or(json!([]));
    compare("set-cookie", &cookies, json!(state.set_cookies));
    compare(
        "headers",
        &without_cors(&expect["headers"]),
        headers(&shown),
    );
    if let Some(auth) = auth_object(state) {
        // A pending session is signed in as a state; as an object only where that is allowed.
        let wanted = match &expect["authIfPendingAllowed"] {
            Value::Null => &expect["auth"],
            allowed => allowed,
        };
        for (name, value) in auth.as_object().unwrap() {
            compare(name, &wanted[name], value.clone());
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// The headers that stand on the answer to such a state.
fn headers(shown: &Shown<'_>) -> Value {
    let standing = match shown.status {
        "signed-out" => Standing::SignedOut,
        "handshake" => Standing::Handshake,
        _ => Standing::Unasked,
    };
    let mut headers = json!({});
    for (name, value) in reply::auth_headers(standing, shown.cause) {
        // What a person is told is no part of the contract.
        if name != "x-clerk-auth-message" {
            headers[name.as_str()] = value.to_str().unwrap().into();
        }
    }
    if let Some(location) = shown.location {
        let document = clerk_gate::pages::redirect(location);
        headers["location"] = location.into();
        headers["cache-control"] = document.headers["cache-control"].to_str().unwrap().into();
    }
    headers
}

fn without_cors(headers: &Value) -> Value {
    let mut headers = headers.clone();
    if let Some(headers) = headers.as_object_mut() {
        headers.retain(|name, _| {
            !name.starts_with("access-control-") && name != "x-clerk-auth-message"
        });
    }
    headers
}

/// The SDK's auth object, as far as the core knows what is in it; `None` where there is none.
fn auth_object(state: &AuthState) -> Option<Value> {
    match &state.outcome {
        Outcome::SignedIn(session) => {
            let identity = session.token.identity().unwrap();
            Some(session_object(identity, &session.token))
        }
        Outcome::Machine(machine) => Some(machine_object(machine)),
        _ => None,
    }
}

fn session_object(identity: &Identity, token: &Token) -> Value {
    let organization = identity.organization.as_ref();
    let permissions = organization.map(|organization| &organization.permissions);
    json!({
        "tokenType": "session_token",
        "userId": identity.user,
        "sessionId": identity.session,
        "orgId": organization.and_then(|o| o.id.clone()),
        "orgSlug": organization.and_then(|o| o.slug.clone()),
        "orgRole": organization.and_then(|o| o.role.clone()),
        "orgPermissions": permissions,
        "actor": identity.actor,
        "sessionClaims": token.claims(),
    })
}

fn machine_object(machine: &Machine) -> Value {
    let claims = (!machine.claims.is_empty()).then_some(&machine.claims);
    let mut object = json!({
        "tokenType": machine.kind.as_str(),
        "id": machine.id,
        "subject": machine.subject,
        "scopes": machine.scopes,
        "userId": machine.user(),
    });
    match machine.kind {
        TokenType::ApiKey => {
            object["claims"] = json!(claims);
            object["orgId"] = json!(machine.organization());
        }
        TokenType::M2m => {
            object["claims"] = json!(claims);
            object["machineId"] = json!(machine.subject);
        }
        TokenType::OAuth => object["clientId"] = json!(machine.client),
        TokenType::Session => {}
    }
    object
}

/// Compares what differs with what the deviations list for one table.
fn assert_as_written(
    table: &str,
    differing: &BTreeMap<String, String>,
    recorded: &BTreeSet<String>,
) {
    let rules = rows::rows_by_rule();
    let written: BTreeSet<&String> = rules
        .values()
        .flatten()
        .filter(|id| recorded.contains(*id))
        .collect();
    let unwritten: Vec<_> = differing
        .iter()
        .filter(|(id, _)| !written.contains(id))
        .map(|(id, difference)| format!("{id}: {difference}"))
        .collect();
    assert!(
        unwritten.is_empty(),
        "{} rows of {table} differ without a rule:\n{}",
        unwritten.len(),
        unwritten.join("\n")
    );
    let stale: Vec<_> = written
        .iter()
        .filter(|id| !differing.contains_key(**id))
        .collect();
    assert!(
        stale.is_empty(),
        "written down but equal in {table}: {stale:?}"
    );
}

#[test]
fn every_recorded_row_of_authenticate_is_equal_or_a_written_deviation() {
    let api = FakeApi::load();
    let table = rows::authenticate();
    let mut equal = 0;
    let mut differing = BTreeMap::new();
    let mut signed_in_beyond = Vec::new();
    for recorded in &table.cases {
        let id = recorded["id"].as_str().unwrap();
        let state = Row::new(recorded, &api, table.now_ms).and_then(|row| {
            let accepts = rows::accepts(&recorded["options"]);
            row.put(|facts, instance, progress| {
                auth::authenticate(facts, instance, accepts, row.now_ms, progress)
            })
        });
        let Some(state) = state else {
            differing.insert(id.to_owned(), "cannot be put to the core".to_owned());
            continue;
        };
        let signed_in = matches!(state.outcome, Outcome::SignedIn(_) | Outcome::Machine(_));
        if signed_in && recorded["expect"]["status"] != "signed-in" {
            signed_in_beyond.push(id.to_owned());
        }
        match difference(recorded, &state) {
            None => equal += 1,
            Some(text) => drop(differing.insert(id.to_owned(), text)),
        }
    }
    let ids = table.cases.iter().map(|row| row["id"].as_str().unwrap());
    let ids: BTreeSet<String> = ids.map(str::to_owned).collect();
    assert_as_written("authenticate.json", &differing, &ids);
    println!(
        "authenticate.json: replayed {}, equal {equal}, deviating by decision {}",
        table.cases.len(),
        differing.len()
    );
    assert_eq!((equal, differing.len()), (EQUAL, DEVIATING));
    let with_cors =
        |row: &&Value| row["expect"]["headers"]["access-control-allow-origin"] == "null";
    assert_eq!(table.cases.iter().filter(with_cors).count(), WITH_CORS);
    // A failing nonce leaves a valid session alone (D2); a PEM key needs no secret key (D3).
    assert_eq!(
        signed_in_beyond,
        [
            "hs.dev.nonce-404-session",
            "hs.prod.nonce-404-session",
            "cf.no-sk-jwtkey"
        ]
    );
}
