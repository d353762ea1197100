//! The handshake: a redirect to Clerk and back that fetches fresh cookies (protocol reference,
//! sections 3.5 to 3.8 and 3.12).

use serde_json::Value;
use url::Url;

use super::auth::{AuthRedirect, AuthState, CookieView, Desk, Outcome, SignedIn};
use super::continuity::{Journey, Keepsake, STATE_PARAMETER};
use super::credentials::CookieFamily;
use super::facts::RequestFacts;
use super::instance::{Continuity, Way};
use super::jwt::Token;
use super::machine::TokenType;
use super::question::{Progress, Question, Slot};
use super::reason::{Cause, Reason};
use super::verify::{self, Leeway};

/// The API version this program speaks.
pub const API_VERSION: &str = "2026-05-12";

/// Redirects in a row before we stop. The SDK compares with `== 3`; see the deviations.
pub(super) const MAX_REDIRECTS: f64 = 3.0;

/// Parameters that carry a handshake result and must not stay in an address.
const RESULT_PARAMETERS: [&str; 5] = [
    "__clerk_handshake",
    "__clerk_help",
    "__clerk_db_jwt",
    "__clerk_handshake_nonce",
    STATE_PARAMETER,
];

/// What came of a handshake result.
pub(super) enum Consumed {
    /// There was none, or it is to be passed over.
    Nothing,
    /// It decides.
    State(AuthState),
}

/// Consumes the handshake result of a request, if there is one (section 3.8).
pub(super) fn consume<'r>(
    desk: &Desk<'_, 'r>,
    progress: &mut Progress<'r>,
) -> Result<Consumed, Question> {
    let Some(credentials) = progress.credentials() else {
        return Ok(Consumed::Nothing);
    };
    let by_nonce = credentials.handshake_nonce.is_some();
    if !by_nonce && credentials.handshake.is_none() {
        return Ok(Consumed::Nothing);
    }
    // Images and fetches carry the cookie too; a nonce can be spent once (design, B3).
    if desk.instance.continuity == Continuity::Full && !desk.facts.is_handshake_eligible() {
        return Ok(Consumed::Nothing);
    }
    // What comes of a development instance's first handshake is the browser itself.
    if desk.instance.ways.handshake == Way::Closed && !desk.instance.is_development() {
        return Ok(Consumed::Nothing);
    }
    if !desk.may_consume(progress)? {
        return Ok(Consumed::Nothing);
    }
    if by_nonce {
        if progress.payload()?.is_err() {
            // A nonce that is spent says nothing about a session that still holds.
            if desk.instance.continuity == Continuity::Full || has_session(progress) {
                return Ok(Consumed::Nothing);
            }
            progress.note_directives(Vec::new());
        }
    } else {
        match directives_of_token(progress)? {
            Ok(directives) => progress.note_directives(directives),
            Err(reason) if desk.instance.is_development() => {
                return Ok(Consumed::State(AuthState {
                    outcome: Outcome::Broken(broken(reason)),
                    set_cookies: Vec::new(),
                    keepsakes: Vec::new(),
                    token_type: Some(TokenType::Session),
                }));
            }
            Err(_) => return Ok(Consumed::Nothing),
        }
    }
    let progress = &*progress;
    let set_cookies = progress.payload()?.clone().unwrap_or_default();
    if progress.raw(Slot::FromHandshake).is_none() {
        let keepsakes = keepsakes(desk, None, progress)?;
        return Ok(Consumed::State(finished(
            desk,
            Err(Reason::SessionTokenMissing),
            set_cookies,
            keepsakes,
        )));
    }
    let parties = desk.fresh_parties();
    let mut verdict = desk.verified(Slot::FromHandshake, parties, desk.leeway(), progress)?;
    let about_time = matches!(
        verdict,
        Err(Reason::SessionTokenExpired
            | Reason::SessionTokenNbf
            | Reason::SessionTokenIatInTheFuture)
    );
    if about_time && desk.instance.is_development() {
        // A developer's clock may be off by anything; the result itself has just been fetched.
        verdict = desk.verified(Slot::FromHandshake, parties, Leeway(86_400_000), progress)?;
    }
    match verdict {
        Ok(token) if token.identity().is_some() => {
            let keepsakes = keepsakes(desk, Some(&token), progress)?;
            let session = SignedIn::by(token, Slot::FromHandshake);
            Ok(Consumed::State(finished(
                desk,
                Ok(session),
                set_cookies,
                keepsakes,
            )))
        }
        // Its cookies count all the same: they are Clerk's word on the browser.
        Err(reason @ Reason::SessionRevoked) => {
            let keepsakes = keepsakes(desk, None, progress)?;
            Ok(Consumed::State(finished(
                desk,
                Err(reason),
                set_cookies,
                keepsakes,
            )))
        }
        _ => Ok(Consumed::Nothing),
    }
}

fn has_session(progress: &Progress<'_>) -> bool {
    progress
        .credentials()
        .is_some_and(|c| c.session.plain.is_some() || c.session.suffixed.is_some())
}

fn broken(reason: Reason) -> Reason {
    match reason {
        Reason::JwkRemoteFailedToLoad | Reason::SecretKeyInvalid => reason,
        _ => Reason::HandshakeInvalid,
    }
}

/// The state after a consumed result: in development the address is cleaned by a redirect.
fn finished(
    desk: &Desk<'_, '_>,
    session: Result<SignedIn, Reason>,
    set_cookies: Vec<String>,
    keepsakes: Vec<Keepsake>,
) -> AuthState {
    let outcome = if desk.instance.is_development() || cleans_in_production(desk) {
        match without_parameters(desk.facts, &RESULT_PARAMETERS) {
            Some(url) => Outcome::Redirect(AuthRedirect {
                location: url.into(),
                cause: session.err().map(Cause::from),
            }),
            None => Outcome::SignedOut(Reason::UnexpectedError.into()),
        }
    } else {
        match session {
            Ok(session) => Outcome::SignedIn(session),
            Err(reason) => Outcome::SignedOut(reason.into()),
        }
    };
    AuthState {
        outcome,
        set_cookies,
        keepsakes,
        token_type: Some(TokenType::Session),
    }
}

/// What becomes of our own cookies with a result: the state has served, and a session that a handshake
/// of ours brought is sealed.
fn keepsakes(
    desk: &Desk<'_, '_>,
    session: Option<&Token>,
    progress: &Progress<'_>,
) -> Result<Vec<Keepsake>, Question> {
    let Some(journey) = desk.began_here(progress)? else {
        return Ok(Vec::new());
    };
    let seal = match session {
        Some(token) => desk.sealed(token, progress)?,
        None => None,
    };
    Ok(std::iter::once(Keepsake::DropState(journey.clone()))
        .chain(seal)
        .collect())
}

/// Whether a result that came in the query of a production request is cleaned away as well.
fn cleans_in_production(desk: &Desk<'_, '_>) -> bool {
    desk.instance.continuity == Continuity::Full
        && RESULT_PARAMETERS
            .iter()
            .any(|name| desk.facts.parameter(name).is_some())
        && desk.facts.is_handshake_eligible()
}

/// The Set-Cookie strings in a handshake token. No times are checked, as in the SDK.
fn directives_of_token(progress: &Progress<'_>) -> Result<Result<Vec<String>, Reason>, Question> {
    let answer = progress.token(Slot::Handshake)?;
    let Ok(token) = &answer.decoded else {
        return Ok(Err(Reason::TokenInvalid));
    };
    let category = token.category();
    if !matches!(
        category,
        super::jwt::Category::Session | super::jwt::Category::Unstated
    ) {
        return Ok(Err(Reason::TokenInvalid));
    }
    let signature = answer
        .signature
        .ok_or(Question::Signature(Slot::Handshake))?;
    if let Err(reason) = verify::signed(token, signature) {
        return Ok(Err(reason));
    }
    Ok(Ok(match token.claim("handshake") {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }))
}

/// Where a handshake goes (section 3.7). `None` if no URL comes of it.
pub(super) fn location(
    desk: &Desk<'_, '_>,
    cause: &Cause,
    view: &CookieView,
    journey: Option<&Journey>,
    progress: &Progress<'_>,
) -> Option<String> {
    let credentials = progress.credentials()?;
    let instance = desk.instance;
    if cause.reason == Reason::SatelliteNeedsSyncing && instance.is_development() {
        let mut url = Url::parse(instance.sign_in_url.as_deref()?).ok()?;
        let back = desk.facts.url()?;
        url.query_pairs_mut()
            .append_pair("__clerk_redirect_url", back.as_str());
        return Some(url.into());
    }
    let base = instance.frontend_api_at(&desk.facts.origin);
    let base = base.trim_end_matches('/');
    let mut url = Url::parse(&format!("{base}/v1/client/handshake")).ok()?;
    let mut back = without_parameters(
        desk.facts,
        &["__clerk_db_jwt", "__dev_session", STATE_PARAMETER],
    )?;
    if let Some(journey) = journey {
        back.query_pairs_mut()
            .append_pair(STATE_PARAMETER, journey.name());
    }
    let suffixed = view.family == CookieFamily::Suffixed;
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("redirect_url", back.as_str())
            .append_pair("__clerk_api_version", API_VERSION)
            .append_pair("suffixed_cookies", if suffixed { "true" } else { "false" })
            .append_pair("__clerk_hs_reason", &cause.to_string())
            .append_pair("format", "nonce");
        if let Some(token) = progress
            .raw(view.slot)
            .or_else(|| progress.raw(Slot::Bearer))
        {
            query.append_pair("__session", token);
        }
        if instance.is_development()
            && let Some(browser) = credentials.dev_browser(view.family)
        {
            query.append_pair("__clerk_db_jwt", browser);
        }
        if let Some(target) = desk.organization_target() {
            query.append_pair("organization_id", target.parameter());
        }
    }
    Some(url.into())
}

/// The address of a request without some parameters. The rest of the query is written anew, as
/// `URLSearchParams` does once it is touched.
pub(super) fn without_parameters(facts: &RequestFacts<'_>, names: &[&str]) -> Option<Url> {
    let mut url = facts.url()?;
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !names.contains(&name.as_ref()))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    Some(url)
}

/// The cookie that counts redirects in a row. Exactly the SDK's, without a path.
pub(super) fn counter_cookie(count: f64) -> String {
    format!(
        "__clerk_redirect_count={}; SameSite=Lax; HttpOnly; Max-Age=2",
        count + 1.0
    )
}

/// Whether a Set-Cookie string counts a redirect: of no use where that redirect is not followed.
pub(super) fn counts_a_redirect(cookie: &str) -> bool {
    cookie.starts_with("__clerk_redirect_count=")
}

/// `URLSearchParams.set`: the first of that name takes the value, further ones go.
pub(super) fn set_parameter(url: &mut Url, name: &str, value: &str) {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut done = false;
    for (key, old) in url.query_pairs() {
        if key != name {
            pairs.push((key.into_owned(), old.into_owned()));
        } else if !done {
            done = true;
            pairs.push((key.into_owned(), value.to_owned()));
        }
    }
    if !done {
        pairs.push((name.to_owned(), value.to_owned()));
    }
    url.query_pairs_mut().clear().extend_pairs(pairs);
}

/// The address of a request, which is `url`, without what a handshake or a dev browser left in it:
/// the way back.
pub(super) fn without_result(facts: &RequestFacts<'_>, url: &Url) -> Option<Url> {
    let carries = RESULT_PARAMETERS
        .iter()
        .any(|name| facts.parameter(name).is_some());
    // An untouched query keeps its spelling.
    if carries {
        without_parameters(facts, &RESULT_PARAMETERS)
    } else {
        Some(url.clone())
    }
}
