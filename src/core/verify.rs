//! What the claims of a session token must be (protocol reference, section 4), with the rules of
//! the design on top: `sub` is not empty, `crit` is refused, RS256 alone.

use serde_json::Value;

use super::instance::{Instance, IssuerRule};
use super::jwt::{Category, Token};
use super::machine::TokenType;
use super::reason::Reason;

/// What is known about the signature of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Made by a key of this instance.
    Good,
    /// Made by somebody else, or changed since.
    Bad,
    /// It could not be checked; the reason is one of Clerk's `jwk-*`.
    Unchecked(Reason),
}

/// Times that may lie this far apart, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leeway(pub u64);

/// How `azp` is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartyRule {
    /// Present and listed, wherever a list is configured.
    Listed,
    /// May be absent: the token came out of a handshake or refresh of ours (design, A1).
    ListedOrAbsent,
}

/// Judges a token whose signature has been looked at.
///
/// `now_ms` in milliseconds since the epoch. The order is that of Clerk's SDK, so that the reason
/// is the same too.
pub fn session_token(
    token: &Token,
    signature: Signature,
    instance: &Instance,
    parties: PartyRule,
    now_ms: u64,
    leeway: Leeway,
) -> Result<(), Reason> {
    if token.category() == Category::Machine {
        return Err(Reason::TokenInvalid);
    }
    signed(token, signature)?;
    match token.text("sub") {
        Some(sub) if !sub.is_empty() => {}
        _ => return Err(Reason::TokenVerificationFailed),
    }
    if !audience_fits(token, &instance.audience) {
        return Err(Reason::TokenVerificationFailed);
    }
    if !party_fits(token, &instance.authorized_parties, parties) {
        return Err(Reason::TokenInvalidAuthorizedParties);
    }
    match &instance.issuer {
        IssuerRule::Any => {}
        IssuerRule::OneOf(accepted) => {
            let issuer = token.text("iss").unwrap_or_default();
            if !accepted.iter().any(|known| known == issuer) {
                return Err(Reason::TokenInvalidIssuer);
            }
        }
    }
    times(token, now_ms, leeway)
}

/// Judges a machine's JWT (section 6.4). Whatever is wrong with it has one reason, as in the SDK;
/// only where no key can be had it is not the token's fault.
///
/// Neither issuer nor authorised parties are judged: a machine's token has none of this instance's.
pub fn machine_token(
    token: &Token,
    kind: TokenType,
    signature: Signature,
    instance: &Instance,
    now_ms: u64,
    leeway: Leeway,
) -> Result<(), Reason> {
    let failed = |reason: Reason| match reason {
        Reason::JwkRemoteFailedToLoad | Reason::SecretKeyInvalid => reason,
        _ => Reason::TokenVerificationFailed,
    };
    let typ = match kind {
        TokenType::OAuth => Typ::AccessToken,
        TokenType::M2m | TokenType::ApiKey | TokenType::Session => Typ::Plain,
    };
    signed_as(token, typ, signature).map_err(failed)?;
    if token.text("sub").is_none_or(str::is_empty) {
        return Err(Reason::TokenVerificationFailed);
    }
    // The audience of an OAuth token is judged with its identity, by a stricter rule.
    if kind != TokenType::OAuth && !audience_fits(token, &instance.audience) {
        return Err(Reason::TokenVerificationFailed);
    }
    times(token, now_ms, leeway).map_err(failed)
}

/// Which `typ` a token must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typ {
    /// `JWT`, or none.
    Plain,
    /// That of an OAuth access token.
    AccessToken,
}

/// Key, `typ`, `alg` and signature: everything that must hold of any token of this instance.
pub fn signed(token: &Token, signature: Signature) -> Result<(), Reason> {
    signed_as(token, Typ::Plain, signature)
}

fn signed_as(token: &Token, typ: Typ, signature: Signature) -> Result<(), Reason> {
    if let Signature::Unchecked(reason) = signature {
        return Err(reason);
    }
    let fits = match typ {
        Typ::AccessToken => token.has_access_token_type(),
        Typ::Plain => match &token.header().typ {
            None => true,
            Some(typ) => typ == "JWT",
        },
    };
    if !fits {
        return Err(Reason::TokenInvalid);
    }
    match token.header().alg.as_deref() {
        Some("RS256") => {}
        // The SDK knows these two but finds that the key is made for RS256.
        Some("RS384" | "RS512") => return Err(Reason::TokenVerificationFailed),
        _ => return Err(Reason::TokenInvalidAlgorithm),
    }
    // SECURITY: an extension that we do not understand may change what the token means.
    if token.header().crit {
        return Err(Reason::TokenVerificationFailed);
    }
    match signature {
        Signature::Good => Ok(()),
        Signature::Bad | Signature::Unchecked(_) => Err(Reason::TokenInvalidSignature),
    }
}

fn audience_fits(token: &Token, accepted: &[String]) -> bool {
    if accepted.is_empty() {
        return true;
    }
    let known = |text: &str| accepted.iter().any(|one| one == text);
    match token.claim("aud") {
        Some(Value::String(aud)) if !aud.is_empty() => known(aud),
        Some(Value::Array(list)) if !list.is_empty() => {
            match list.iter().map(Value::as_str).collect::<Option<Vec<_>>>() {
                Some(texts) => texts.into_iter().any(known),
                None => true,
            }
        }
        _ => true,
    }
}

fn party_fits(token: &Token, accepted: &[String], rule: PartyRule) -> bool {
    if accepted.is_empty() {
        return true;
    }
    match token.claim("azp") {
        None => rule == PartyRule::ListedOrAbsent,
        Some(azp) => azp
            .as_str()
            .is_some_and(|azp| !azp.is_empty() && accepted.iter().any(|one| one == azp)),
    }
}

/// `exp` must be there; `nbf` and `iat` count where they are.
fn times(token: &Token, now_ms: u64, Leeway(leeway): Leeway) -> Result<(), Reason> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since the epoch fit into 53 bits"
    )]
    let (now, leeway) = (now_ms as f64, leeway as f64);
    let millis = |name: &str| match token.claim(name) {
        None => Ok(None),
        Some(value) => {
            let seconds = value
                .as_f64()
                .filter(|seconds| seconds.is_finite() && seconds.abs() < 8.64e12)
                .ok_or(Reason::TokenVerificationFailed)?;
            // JavaScript's dates take whole seconds.
            Ok(Some(seconds.trunc() * 1000.0))
        }
    };
    let expires = millis("exp")?.ok_or(Reason::TokenVerificationFailed)?;
    if expires <= now - leeway {
        return Err(Reason::SessionTokenExpired);
    }
    if millis("nbf")?.is_some_and(|nbf| nbf > now + leeway) {
        return Err(Reason::SessionTokenNbf);
    }
    if millis("iat")?.is_some_and(|iat| iat > now + leeway) {
        return Err(Reason::SessionTokenIatInTheFuture);
    }
    Ok(())
}
