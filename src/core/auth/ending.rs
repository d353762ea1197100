//! Whose session a sign-out ends.

use std::sync::Arc;

use super::{Desk, is_of_session};
use crate::core::facts::RequestFacts;
use crate::core::instance::Instance;
use crate::core::jwt::Token;
use crate::core::question::{Progress, Question};
use crate::core::verify::{self, Leeway, PartyRule};

/// How long after its end a token still names the session that is to end, in milliseconds.
const NAMES_FOR_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// The session token of the cookies, if it is genuine: it may have run out, and its session may be
/// over as far as this gate knows.
// SECURITY: good for ending that one session, and for nothing else. Whoever holds the cookie of a
// session can do no more with it here than its owner wants done.
pub fn session_to_end<'r>(
    facts: &RequestFacts<'r>,
    instance: &Instance,
    now_ms: u64,
    progress: &Progress<'r>,
) -> Result<Option<Arc<Token>>, Question> {
    let desk = Desk::new(facts, instance, now_ms);
    let view = desk.cookies(progress)?;
    if progress.raw(view.slot).is_none() {
        return Ok(None);
    }
    let answer = progress.token(view.slot)?;
    let Ok(token) = &answer.decoded else {
        return Ok(None);
    };
    if !is_of_session(token) {
        return Ok(None);
    }
    let signature = answer.signature.ok_or(Question::Signature(view.slot))?;
    let verdict = verify::session_token(
        token,
        signature,
        instance,
        PartyRule::ListedOrAbsent,
        now_ms,
        Leeway(NAMES_FOR_MS),
    );
    Ok(verdict.is_ok().then(|| Arc::clone(token)))
}
