//! Machine tokens: verified by their kind, by Clerk's word or by their signature (protocol
//! reference, sections 6.1, 6.3 and 6.4).

use std::sync::Arc;

use super::{AuthState, Desk, Outcome};
use crate::core::machine::{Machine, TokenType};
use crate::core::question::{Progress, Question, Slot};
use crate::core::reason::Reason;
use crate::core::verify;

impl<'r> Desk<'_, 'r> {
    /// The kind of the machine token in the header; `None` for any other text.
    pub(super) fn machine_type(progress: &Progress<'r>) -> Result<Option<TokenType>, Question> {
        let raw = progress.raw(Slot::Bearer).unwrap_or_default();
        if let Some(kind) = TokenType::of_opaque(raw) {
            return Ok(Some(kind));
        }
        let decoded = &progress.token(Slot::Bearer)?.decoded;
        Ok(decoded.as_ref().ok().and_then(|token| token.machine_type()))
    }

    /// Sections 6.3 and 6.4: a machine token is verified by its kind. It never leads to a
    /// handshake or a refresh.
    pub(super) fn by_machine(
        &self,
        kind: TokenType,
        progress: &Progress<'r>,
    ) -> Result<AuthState, Question> {
        let raw = progress.raw(Slot::Bearer).unwrap_or_default();
        let verified = if TokenType::of_opaque(raw).is_some() {
            progress.machine(kind)?.clone()
        } else {
            self.machine_of_token(kind, progress)?.map(Arc::new)
        };
        let judged = verified.and_then(|machine| {
            machine.judge(&self.instance.audience, self.now_ms)?;
            Ok(machine)
        });
        Ok(match judged {
            Ok(machine) => AuthState {
                outcome: Outcome::Machine(machine),
                set_cookies: Vec::new(),
                keepsakes: Vec::new(),
                token_type: Some(kind),
            },
            Err(reason) => AuthState::without(Some(kind), reason),
        })
    }

    /// Section 6.4: a machine's JWT.
    pub(super) fn machine_of_token(
        &self,
        kind: TokenType,
        progress: &Progress<'r>,
    ) -> Result<Result<Machine, Reason>, Question> {
        let answer = progress.token(Slot::Bearer)?;
        let Ok(token) = &answer.decoded else {
            return Ok(Err(Reason::TokenInvalid));
        };
        if kind == TokenType::M2m && !token.may_be_of_a_machine() {
            return Ok(Err(Reason::TokenInvalid));
        }
        let signature = answer.signature.ok_or(Question::Signature(Slot::Bearer))?;
        let verdict = verify::machine_token(
            token,
            kind,
            signature,
            self.instance,
            self.now_ms,
            self.leeway(),
        );
        Ok(verdict.map(|()| Machine::from_token(kind, token)))
    }
}
