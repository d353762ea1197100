//! Whom opaque machine tokens stand for: the Backend API knows (protocol reference, section 6.3).

use serde_json::{Value, json};

use super::budget::Purpose;
use super::client::ClerkClient;
use crate::core::machine::{Machine, TokenType};
use crate::core::reason::Reason;

/// The part of the Backend API that verifies machine tokens.
#[derive(Clone, Debug, Default)]
pub struct MachineApi {
    /// With the secret key of the instance.
    pub instance: Option<ClerkClient>,
    /// With the secret key of a machine, which knows the tokens that are meant for it.
    pub machine: Option<ClerkClient>,
}

impl MachineApi {
    /// Whom a token stands for. The error is a verdict on the token, or says that there is none.
    pub async fn verify(
        &self,
        purpose: Purpose,
        kind: TokenType,
        token: &str,
    ) -> Result<Machine, Reason> {
        let (client, path, field) = match kind {
            TokenType::ApiKey => (self.instance.as_ref(), "/api_keys/verify", "secret"),
            TokenType::M2m => (
                self.machine.as_ref().or(self.instance.as_ref()),
                "/m2m_tokens/verify",
                "token",
            ),
            TokenType::OAuth => (
                self.instance.as_ref(),
                "/oauth_applications/access_tokens/verify",
                "access_token",
            ),
            TokenType::Session => return Err(Reason::TokenTypeMismatch),
        };
        let client = client.ok_or(Reason::TokenVerificationUnavailable)?;
        let answer = client
            .post(purpose, path, &[], &json!({ field: token }))
            .await
            .map_err(|_| Reason::TokenVerificationUnavailable)?;
        match answer.status {
            200 if answer.is_json => {
                let body: Value = serde_json::from_slice(&answer.body)
                    .map_err(|_| Reason::TokenVerificationUnavailable)?;
                Machine::from_answer(kind, &body)
            }
            401 => Err(Reason::SecretKeyInvalid),
            // Clerk has looked at it, and knows no such token.
            400 | 404 | 410 | 422 => Err(Reason::TokenInvalid),
            _ => Err(Reason::TokenVerificationUnavailable),
        }
    }
}
