//! The same rows as if they had been recorded just now: their tokens signed anew, before a gate that
//! has the clock of the system.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clerk_gate::clock::{Clock as _, SystemClock};
use clerk_gate::core::instance::PendingSessions;

use super::authenticate::{difference, gate_route};
use super::*;

/// The families that are taken, with the rows of each: those that time matters to, but not to the
/// second, and that get no token from the Backend API.
const FAMILIES: [(&str, usize); 18] = [
    ("az", 47),
    ("ck", 53),
    ("cl", 29),
    ("cp", 20),
    ("hd", 22),
    ("hf", 17),
    ("hs", 46),
    ("hx", 16),
    ("it", 31),
    ("lp", 15),
    ("mt", 64),
    ("og", 29),
    ("px", 12),
    ("rf", 15),
    ("rr", 29),
    ("sh", 31),
    ("st", 34),
    ("sx", 62),
];

/// Rows among them that come out differently, each under a rule of the deviations.
const DEVIATING: usize = 13;

/// The tokens of the rows by name, and the keys that signed them.
struct Tokens {
    tokens: Value,
    keys: BTreeMap<String, RsaKeyPair>,
}

impl Tokens {
    fn load() -> Self {
        let written = rows::table("keys");
        let named = written.as_object().unwrap().iter();
        let keys = named.filter_map(|(name, key)| {
            let pem = key["private_pem"].as_str()?;
            let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
            Some((name.clone(), pair))
        });
        Self {
            keys: keys.collect(),
            tokens: rows::table("tokens")["tokens"].clone(),
        }
    }

    fn sign(&self, key: &str, text: &str) -> Option<String> {
        let pair = self.keys.get(key)?;
        let mut signature = vec![0; pair.public_modulus_len()];
        let random = SystemRandom::new();
        pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .unwrap();
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// A row with everything in it later by so many seconds. `None` if a token of it cannot be signed
    /// anew: those that are no sound token are what they are.
    fn later(&self, row: &Value, by: u64) -> Option<Value> {
        let names = rows::strings(&row["tokens"])?;
        // What is inside of another token comes first.
        let mut anew: Vec<(String, String)> = Vec::new();
        let nests = |name: &String| self.tokens[name]["claims"]["handshake"].is_array();
        let (outer, inner): (Vec<_>, Vec<_>) = names.into_iter().partition(nests);
        for name in inner.into_iter().chain(outer) {
            let token = &self.tokens[&name];
            let (jwt, key) = (token["jwt"].as_str()?, token["signed_with"].as_str()?);
            let (signed, _) = jwt.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            if self.sign(key, signed)? != jwt {
                return None;
            }
            let mut claims: Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
            for name in ["exp", "iat", "nbf"] {
                if let Some(time) = claims[name].as_u64() {
                    claims[name] = (time + by).into();
                }
            }
            let claims = replaced(&claims.to_string(), &anew, by);
            let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
            anew.push((jwt.to_owned(), self.sign(key, &signed)?));
        }
        serde_json::from_str(&replaced(&row.to_string(), &anew, by)).ok()
    }
}

/// A text with tokens replaced, and with later values of `__client_uat`.
fn replaced(text: &str, tokens: &[(String, String)], by: u64) -> String {
    let mut text = text.to_owned();
    for (old, new) in tokens {
        text = text.replace(old, new);
    }
    let mut pieces = text.split("__client_uat");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str("__client_uat");
        let (name, rest) = piece.split_once('=').unwrap_or((piece, ""));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse::<u64>() {
            Ok(time) if digits.len() == 10 => {
                write!(out, "{name}={}", time + by).unwrap();
                out.push_str(&rest[digits.len()..]);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

#[tokio::test]
async fn what_was_recorded_then_holds_now() {
    let table = rows::authenticate();
    let tokens = Tokens::load();
    let mut replay = Replay::new(Arc::new(SystemClock), PendingSessions::SignedIn).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    for row in &table.cases {
        let id = row["id"].as_str().unwrap();
        let family = id.split('.').next().unwrap();
        let calls = row["apiCalls"].to_string();
        let served = calls.contains("/refresh") || calls.contains("handshake_payload");
        if served || FAMILIES.iter().all(|(name, _)| *name != family) {
            continue;
        }
        let by = (SystemClock.now_ms() - table.now_ms) / 1000;
        let Some(now) = tokens.later(row, by) else {
            continue;
        };
        *counts.entry(family).or_default() += 1;
        replayed.insert(id);
        let (answer, received) = replay.send(&now, &gate_route(&now)).await.unwrap();
        if let Some(difference) = difference(&now, &answer, &received) {
            differing.insert(id, difference);
        }
    }
    replay.stop.cancel();
    println!(
        "authenticate.json at present: replayed {}, equal {}, deviating by decision {}",
        replayed.len(),
        replayed.len() - differing.len(),
        differing.len(),
    );
    assert_as_written(&replayed, &differing);
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), FAMILIES);
    assert_eq!(differing.len(), DEVIATING);
}
