//! The answers to what was asked about a request, kept so that the verdict can be explained later, and
//! without anything that somebody could use.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Progress, Question, Slot, Stage, TokenAnswer, TokenStanding};
use crate::core::budget::Enforcement;
use crate::core::continuity::{Journey, OwnCookies, State};
use crate::core::credentials::{Copies, Credentials, javascript_integer};
use crate::core::machine::TokenType;
use crate::core::question::MintFailure;
use crate::core::ride_through::{Reach, Recollection};
use crate::core::verify::Signature;

/// What stands in the place of a secret.
pub const COVERED: &str = "…";

/// What the journey is called that a request came back from, and another one.
const JOURNEYS: [&str; 2] = ["0000000000000000", "1111111111111111"];

impl Progress<'_> {
    /// The same answers, with every credential covered. The route is looked for anew.
    pub fn kept(&self) -> Progress<'static> {
        let covered = |answer: &Option<TokenAnswer>, slot: Slot| {
            let answer = answer.as_ref()?;
            let mut kept = answer.clone();
            if slot == Slot::Handshake
                && let Ok(token) = &answer.decoded
            {
                // SECURITY: session tokens stand in it.
                kept.decoded = Ok(Arc::new(token.without("handshake")));
            }
            Some(kept)
        };
        let tokens = self.tokens.iter().zip(Slot::ALL);
        let mut kept = Progress::default();
        for (place, (answer, slot)) in kept.tokens.iter_mut().zip(tokens) {
            *place = covered(answer, slot);
        }
        let named = self.credentials.as_ref().and_then(|c| c.journey.as_ref());
        Progress {
            credentials: self.credentials.as_ref().map(Credentials::kept),
            payload: self.payload.as_ref().map(|answer| match answer {
                Ok(lines) => Ok(directives(lines)),
                Err(()) => Err(()),
            }),
            refresh: self
                .refresh
                .as_ref()
                .map(|answer| answer.as_deref().map(directives).map_err(Clone::clone)),
            machine: self.machine.clone(),
            own: self.own.as_ref().map(|own| OwnCookies {
                seal: own.seal.clone(),
                state: own.state.as_ref().and_then(|state| {
                    let [same, other] = JOURNEYS;
                    let name = if Some(&state.journey) == named {
                        same
                    } else {
                        other
                    };
                    Some(State {
                        journey: Journey::named(name)?,
                        ..state.clone()
                    })
                }),
            }),
            journey: self.journey.as_ref().and_then(|_| example()),
            minted: self
                .minted
                .as_ref()
                .map(|answer| answer.as_ref().map(|_| COVERED.to_owned()).map_err(|e| *e)),
            template: self
                .template
                .as_ref()
                .map(|answer| answer.as_ref().map(|_| TEMPLATE.into()).map_err(|e| *e)),
            recollection: self.recollection,
            reach: self.reach,
            charged: self.charged.clone(),
            ..kept
        }
    }

    /// About how much memory the tokens take that are known, all together.
    // SECURITY: as they are in memory. What a stranger writes as a few bytes of JSON can be a hundred times as
    // large there.
    pub fn token_bytes(&self) -> usize {
        let known = Slot::ALL.into_iter();
        known
            .filter_map(|slot| self.decoded(slot))
            .map(|token| token.bytes())
            .sum()
    }

    /// What was answered to a question, in words; `None` where nothing was.
    pub fn told(&self, question: Question) -> Option<String> {
        Some(match question {
            Question::Token(slot) => match self.tokens.get(slot as usize)?.as_ref()?.standing {
                TokenStanding::Stands => return None,
                TokenStanding::Revoked => format!("the session of {} is over", slot.name()),
                TokenStanding::Outdated => format!("{} says what has changed since", slot.name()),
            },
            Question::Signature(slot) => {
                let said = match self.tokens.get(slot as usize)?.as_ref()?.signature? {
                    Signature::Good => "was good".to_owned(),
                    Signature::Bad => "was not good".to_owned(),
                    Signature::Unchecked(reason) => format!("could not be checked: {reason}"),
                };
                format!("the signature of {} {said}", slot.name())
            }
            Question::HandshakePayload => match self.payload.as_ref()? {
                Ok(_) => "the handshake nonce was exchanged at Clerk".to_owned(),
                Err(()) => "the handshake nonce could not be exchanged at Clerk".to_owned(),
            },
            Question::Refresh(_) => match self.refresh.as_ref()? {
                Ok(_) => "the session was refreshed at Clerk".to_owned(),
                Err(failure) => {
                    format!("the session was not refreshed at Clerk: {}", failure.code())
                }
            },
            Question::Mint => match self.minted.as_ref()? {
                Ok(_) => "a session token was minted at Clerk".to_owned(),
                Err(MintFailure::Ended) => {
                    "no session token was minted: the session is over".to_owned()
                }
                Err(MintFailure::Unavailable) => {
                    "no session token was minted: Clerk could not be asked".to_owned()
                }
                Err(MintFailure::Refused) => {
                    "no session token was minted: Clerk would not".to_owned()
                }
            },
            Question::Template(_) => match self.template.as_ref()? {
                Ok(_) => "a token of the route's template was fetched from Clerk".to_owned(),
                Err(reason) => format!("no token of the route's template was to be had: {reason}"),
            },
            Question::Machine(_) => match self.machine.as_ref()? {
                Ok(_) => "Clerk vouched for the token".to_owned(),
                Err(reason) => format!("Clerk did not vouch for the token: {reason}"),
            },
            Question::Recollection(_) => match self.recollection.as_ref()? {
                Recollection::Verified(_) => {
                    "the token was verified here before its end".to_owned()
                }
                Recollection::Unheard => {
                    "nobody could tell who is out: other gates were not heard".to_owned()
                }
                Recollection::Unknown => return None,
            },
            Question::Reach(_) => match self.reach.as_ref()? {
                Reach::Unproven => "nothing proved that Clerk was out of reach".to_owned(),
                Reach::Unreachable => "Clerk was out of reach".to_owned(),
            },
            Question::Budget(stage) => return self.spent_at(stage),
            Question::OwnCookies => match &self.own.as_ref()?.seal {
                Some(_) => "a seal of the gate's own came along".to_owned(),
                None => return None,
            },
            Question::Journey => return None,
        })
    }

    /// What charges came to, in words.
    fn spent_at(&self, stage: Stage) -> Option<String> {
        let charged = self.charged.get(stage as usize)?.as_ref()?;
        let spendings = charged.spendings.as_ref()?;
        let said = charged.charges.iter().zip(spendings);
        let said = said.map(|(charge, spending)| {
            let dry = charge.budget.enforcement == Enforcement::DryRun;
            match spending.exceeded() {
                None => format!("limit `{}` had room", charge.budget.name),
                Some(reason) if dry => {
                    format!(
                        "limit `{}` would have refused ({reason})",
                        charge.budget.name
                    )
                }
                Some(reason) => format!("limit `{}` refused ({reason})", charge.budget.name),
            }
        });
        Some(said.collect::<Vec<_>>().join(", "))
    }
}

impl Slot {
    /// Which token it is, in words.
    fn name(self) -> &'static str {
        match self {
            Self::Bearer => "the bearer token",
            Self::Session | Self::SuffixedSession => "the cookie's token",
            Self::Handshake => "the handshake result",
            Self::FromHandshake => "the token that the handshake brought",
            Self::FromRefresh => "the token that the refresh brought",
            Self::FromMint => "the token that was minted",
        }
    }
}

/// What a token of a template is called that nobody is to see.
const TEMPLATE: &str = "(a token of the template)";

fn example() -> Option<Journey> {
    let [name, _] = JOURNEYS;
    Journey::named(name)
}

/// Set-Cookie strings by their names, and whether there was anything in them.
fn directives(lines: &[String]) -> Vec<String> {
    let covered = |line: &String| {
        let pair = line.split(';').next().unwrap_or_default();
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = if value.is_empty() { "" } else { COVERED };
        format!("{name}={value}")
    };
    lines.iter().map(covered).collect()
}

impl Credentials<'_> {
    /// Which credentials there are, without what is in them.
    fn kept(&self) -> Credentials<'static> {
        let covered = |secret: &Option<Cow<'_, str>>| {
            let secret = secret.as_deref()?;
            Some(Cow::Borrowed(if secret.is_empty() { "" } else { COVERED }))
        };
        let copies = |copies: &Copies<'_>| Copies {
            plain: covered(&copies.plain),
            suffixed: covered(&copies.suffixed),
        };
        // When the browser's sessions last changed: a number, and no secret.
        let moment = |text: &Option<Cow<'_, str>>| {
            let text = text.as_deref()?;
            Some(Cow::Owned(javascript_integer(text).to_string()))
        };
        let bearer = self.bearer.as_deref().map(|token| {
            let kind = TokenType::of_opaque(token).map_or("", TokenType::prefix);
            Cow::Owned(format!("{kind}{COVERED}"))
        });
        Credentials {
            bearer,
            session: copies(&self.session),
            client_uat: Copies {
                plain: moment(&self.client_uat.plain),
                suffixed: moment(&self.client_uat.suffixed),
            },
            dev_browser: copies(&self.dev_browser),
            dev_browser_parameter: self.dev_browser_parameter.as_ref().map(|parameter| {
                let covered = if parameter.is_empty() { "" } else { COVERED };
                covered.to_owned()
            }),
            refresh: covered(&self.refresh),
            seal: covered(&self.seal),
            journey: self.journey.as_ref().and_then(|_| example()),
            state: covered(&self.state),
            handshake: covered(&self.handshake),
            handshake_nonce: covered(&self.handshake_nonce),
            redirect_count: self.redirect_count,
        }
    }
}
