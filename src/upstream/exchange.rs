//! One request and the head of its answer: at a server, and where that is harmless at another one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use tokio::time::Instant;

use super::body::{ClientBody, Watch};
use super::group::{MOST_TRIES, Picked, Server};
use super::pool::{SendError, UpstreamBody};
use super::reuse::ClientLine;
use super::standing::{Outcome, ServerName};
use super::{BRIEF, Ending, Upstream, UpstreamError, failure, head};
use crate::core::facts::{BodyLength, RequestFacts, Upgrade};
use crate::core::reason::Reason;

/// Who waits for the head of an answer, how long it may take, and what may end the wait.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub(super) client: ClientLine,
    pub(super) limit: Duration,
    pub(super) ending: &'a (dyn Fn() -> Option<Ending> + Sync),
}

impl Upstream {
    /// Sends a request and waits for the head of its answer; `head` is asked again where the
    /// request has to be sent once more.
    ///
    /// It goes to another server only if nothing of it was written to the first one.
    pub(super) async fn exchange(
        &self,
        head: impl Fn(&Server) -> Option<Request<()>>,
        mut body: ClientBody,
        patience: Patience<'_>,
        facts: &RequestFacts<'_>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let watch = body.watch();
        let mut tried: Vec<&ServerName> = Vec::new();
        let mut before = None;
        loop {
            let picked = self.group.pick(&tried);
            let Picked { server, place } = match (picked, before) {
                (Ok(picked), _) => picked,
                // What went wrong first says more than that nobody else can help.
                (Err(shortage), before) => return Err(before.unwrap_or(shortage)),
            };
            let began = Instant::now();
            let request = head(server).ok_or(UpstreamError::Malformed)?;
            let request = request.map(|()| body);
            let mut answer = ask(server, request, watch.as_ref(), patience).await;
            if let Some(Err(SendError::Exchange { stale: true, .. })) = &answer
                && is_repeatable(facts)
                && let Some(head) = head(server)
            {
                let again = head.map(|()| ClientBody::none());
                answer = ask(server, again, None, patience).await;
            }
            let (outcome, unsent) = settled(answer, watch.as_ref());
            let noted = match &outcome {
                Ok(response) => Outcome::Answered(response.status().as_u16()),
                // SECURITY: a client that sends nothing more must not have servers left out.
                Err(UpstreamError::Timeout) if waits(watch.as_ref()) => {
                    Outcome::Failed(UpstreamError::Client(Reason::BodyTimeout))
                }
                Err(error) => Outcome::Failed(*error),
            };
            self.group.note(server, noted, began.elapsed());
            tried.push(server.name());
            match (outcome, unsent) {
                (Err(error), Some(unsent)) if tried.len() < MOST_TRIES => {
                    before = Some(error);
                    body = unsent;
                }
                (outcome, _) => {
                    return outcome.map(|mut response| {
                        response.body_mut().place = Some(place);
                        response
                    });
                }
            }
        }
    }
}

/// Sends a request to a server; `None` if nothing moves for `limit`.
async fn ask(
    server: &Server,
    request: Request<ClientBody>,
    watch: Option<&Watch>,
    patience: Patience<'_>,
) -> Option<Result<Response<UpstreamBody>, SendError>> {
    let limit = patience.limit;
    let began = Instant::now();
    let mut end = began + limit;
    let mut answer = std::pin::pin!(server.send(request, patience.client));
    // Most answers are there before anybody could have taken the leave for them back.
    let brief = tokio::time::timeout_at(end.min(began + BRIEF), answer.as_mut());
    if let Ok(answer) = brief.await {
        return Some(answer);
    }
    let ending = (patience.ending)();
    let mut ending = std::pin::pin!(async {
        match ending {
            Some(ending) => ending.await,
            None => std::future::pending().await,
        }
    });
    loop {
        let step = async {
            tokio::select! {
                biased;
                reason = ending.as_mut() => Err(SendError::Ended(reason)),
                answer = answer.as_mut() => answer,
            }
        };
        if let Ok(answer) = tokio::time::timeout_at(end, step).await {
            return Some(answer);
        }
        // A long body takes its time; what counts is how long nothing has moved.
        let moved = watch.map(|watch| watch.pulse.last() + limit);
        end = moved.filter(|moved| *moved > end)?;
    }
}

/// Whether it is the client who has the next word.
fn waits(watch: Option<&Watch>) -> bool {
    watch.is_some_and(|watch| watch.waits.load(Ordering::Acquire))
}

/// What an exchange came to, and the body where nothing of the request was written.
fn settled(
    answer: Option<Result<Response<UpstreamBody>, SendError>>,
    watch: Option<&Watch>,
) -> (
    Result<Response<UpstreamBody>, UpstreamError>,
    Option<ClientBody>,
) {
    let outcome = match answer {
        None => Err(UpstreamError::Timeout),
        Some(Err(SendError::Ended(reason))) => Err(UpstreamError::Ended(reason)),
        Some(Err(SendError::Connect { error, unsent })) => {
            return (Err(failure::of_io(error.kind())), Some(unsent.into_body()));
        }
        Some(Err(SendError::Exchange { error, .. })) => {
            let fault = watch.and_then(|watch| watch.fault.reason());
            Err(fault.map_or_else(|| failure::of_exchange(&error), UpstreamError::Client))
        }
        Some(Ok(response)) if !head::is_framed_in_one_way(response.headers()) => {
            // SECURITY: what such an upstream takes for the rest of this answer would be taken
            // for somebody else's.
            response.into_body().abandon();
            Err(UpstreamError::Malformed)
        }
        Some(Ok(mut response)) => {
            // The version is about the connection to the client, which is not this one
            // (RFC 9112, section 2.3).
            *response.version_mut() = Version::HTTP_11;
            Ok(response)
        }
    };
    (outcome, None)
}

/// Whether a request may be sent a second time: it has no body and changes nothing.
fn is_repeatable(facts: &RequestFacts<'_>) -> bool {
    matches!(*facts.method, Method::GET | Method::HEAD)
        && facts.body == BodyLength::None
        && facts.upgrade == Upgrade::None
}
