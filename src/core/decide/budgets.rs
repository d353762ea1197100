//! Budgets: what a request is charged, and its refusal where that is too much.

use super::{Decision, Judge, Refusal, RefusalKind, Verdict};
use crate::core::auth::{AuthState, Outcome};
use crate::core::budget::{Charge, Sender, Spender};
use crate::core::policy::{Disclosure, Route};
use crate::core::question::{Progress, Question, Stage};

impl<'r> Judge<'_, 'r> {
    /// Charges the budgets that count addresses, before anything is made of credentials. The refusal,
    /// if one of them is spent.
    pub(super) fn arrives(
        &self,
        route: &Route,
        progress: &mut Progress<'r>,
    ) -> Result<Option<Verdict>, Question> {
        self.prepare(Stage::Arrival, route, Sender::Nobody, progress);
        let Some(reason) = progress.charged(Stage::Arrival)? else {
            return Ok(None);
        };
        // SECURITY: whoever is not known yet is not told that there is something.
        let kind = match route.disclosure {
            Disclosure::Open => RefusalKind::Request,
            Disclosure::Hidden => RefusalKind::Hidden,
        };
        Ok(Some(self.refuse(kind, reason.into(), Vec::new(), progress)))
    }

    /// Charges all others, where it is clear that a request may pass. The refusal, if one of them is
    /// spent.
    pub(super) fn admission(&self, progress: &Progress<'r>) -> Result<Option<Verdict>, Question> {
        let refusal = progress.charged(Stage::Admission)?;
        Ok(refusal
            .map(|reason| self.refuse(RefusalKind::Request, reason.into(), Vec::new(), progress)))
    }

    /// The same for a verdict. What stands in it beside the decision stays: a session that was renewed
    /// is renewed.
    pub(super) fn admits(
        &self,
        verdict: Verdict,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        if !matches!(verdict.decision, Decision::Forward(_)) {
            return Ok(verdict);
        }
        Ok(match self.admission(progress)? {
            None => verdict,
            Some(refused) => Verdict {
                decision: refused.decision,
                cause: refused.cause,
                ..verdict
            },
        })
    }

    /// Whose token counted, as far as a budget of the route wants to know.
    pub(super) fn sender(&self, route: &Route, state: &AuthState) -> Sender {
        if route.budgets.is_empty() {
            return Sender::Nobody;
        }
        match &state.outcome {
            Outcome::Machine(machine) => Sender::Machine(machine.clone()),
            Outcome::SignedIn(_) | Outcome::SignedOut(_) => state
                .session(self.0.instance.pending)
                .map_or(Sender::Nobody, |session| {
                    Sender::Person(session.token.clone())
                }),
            Outcome::Redirect(_) | Outcome::Broken(_) => Sender::Nobody,
        }
    }

    /// Says what a stage charges.
    pub(super) fn prepare(
        &self,
        stage: Stage,
        route: &Route,
        sender: Sender,
        progress: &mut Progress<'r>,
    ) {
        if progress.charges(stage).is_empty() {
            let whoever = Spender {
                address: self.0.facts.client,
                instance: &self.0.instance.own_issuer_host,
                sender,
                now_ms: self.0.now_ms,
            };
            let due = route.budgets.iter().filter(|due| due.stage() == stage);
            let charges: Vec<Charge> = due
                .map(|budget| budget.charge(&whoever, route.cost))
                .collect();
            progress.note_charges(stage, charges);
        }
    }
}

/// Whether a refusal may tell of budgets: what is hidden has none.
pub fn tells_of_budgets(decision: &Decision) -> bool {
    !matches!(
        decision,
        Decision::Refuse(Refusal {
            kind: RefusalKind::Hidden,
            ..
        })
    )
}
