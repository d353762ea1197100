//! The streams of one connection in HTTP/2: how many there are, whether anybody takes what they bring,
//! and whether they are asked for in earnest.
//!
//! A connection in HTTP/1.1 that nobody reads from is noticed by its socket (`seat`). Here a client can
//! read from the socket and let one stream stand still for ever.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::time::Sleep;
use tracing::debug;

use super::sent::{Due, Sent};
use crate::upstream::Over;

/// So many requests may be given up before anybody counts how many were not.
const GIVEN_UP: u64 = 100;

/// The streams of a connection. It is also what runs them.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    count: watch::Sender<Count>,
    patience: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Requests whose answer has not been handed over to the last byte.
    requests: usize,
    /// Tunnels that are open.
    tunnels: usize,
    /// Requests ever.
    ever: u64,
    /// Those that were given up before they were answered.
    given_up: u64,
}

impl Streams {
    /// None yet. One whose client takes nothing of its answer for as long as `patience` is cut off.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            count: watch::Sender::new(Count::default()),
            patience,
        }
    }

    /// Counts a request.
    pub(super) fn begin(&self) -> OneRequest {
        self.count.send_modify(|count| count.ever += 1);
        OneRequest {
            count: self.count.clone(),
            is_answered: false,
        }
    }

    /// Whether anything has ever been asked.
    pub(super) fn were_any(&self) -> bool {
        self.count.borrow().ever > 0
    }

    /// Returns once there has been no stream for as long as `patience`.
    pub(super) async fn idle(&self, patience: Duration) {
        let mut count = self.count.subscribe();
        loop {
            // INVARIANT: the sender is here.
            let _ = count
                .wait_for(|count| count.requests == 0 && count.tunnels == 0)
                .await;
            if tokio::time::timeout(patience, count.changed())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Returns once there are tunnels and nothing else.
    pub(super) async fn only_tunnels(&self) {
        let mut count = self.count.subscribe();
        let _ = count
            .wait_for(|count| count.requests == 0 && count.tunnels > 0)
            .await;
    }

    /// Returns once most requests are asked only to be given up.
    // SECURITY: a request that is reset at once takes no place among the streams, and costs a verdict
    // all the same.
    pub(super) async fn abused(&self) {
        let mut count = self.count.subscribe();
        let _ = count
            .wait_for(|count| count.given_up >= GIVEN_UP && count.given_up * 2 > count.ever)
            .await;
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct OneRequest {
    count: watch::Sender<Count>,
    is_answered: bool,
}

impl OneRequest {
    /// Notes that it has been answered, and looks after what is sent.
    pub(super) fn answered<B>(mut self, mut response: Response<B>) -> Response<Sent<B>> {
        self.is_answered = true;
        let over = response.extensions_mut().remove::<Over>();
        let due = AT.with_borrow_mut(|at| {
            let at = at.as_mut()?;
            at.over = over;
            Some(Arc::clone(&at.due))
        });
        response.map(|body| Sent::new(body, due.unwrap_or_default()))
    }
}

impl Drop for OneRequest {
    fn drop(&mut self) {
        if !self.is_answered {
            self.count.send_modify(|count| count.given_up += 1);
        }
    }
}

/// A task, as long as it runs.
struct OneTask {
    count: watch::Sender<Count>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Answers a request.
    Request,
    /// Carries what goes to the client of a tunnel.
    Tunnel,
}

impl OneTask {
    fn begin(count: &watch::Sender<Count>, kind: Kind) -> Self {
        count.send_modify(|count| *count.of(kind) += 1);
        Self {
            count: count.clone(),
            kind,
        }
    }
}

impl Drop for OneTask {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count.of(self.kind) -= 1);
    }
}

impl Count {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Request => &mut self.requests,
            Kind::Tunnel => &mut self.tunnels,
        }
    }
}

thread_local! {
    /// The stream that this thread works at, if it works at one.
    static AT: RefCell<Option<At>> = const { RefCell::new(None) };
}

/// A request that is worked at.
#[derive(Debug)]
struct At {
    due: Arc<Due>,
    /// Comes with the answer that opens a tunnel.
    over: Option<Over>,
}

/// Looks after a client that has something to take.
#[derive(Debug)]
struct Patience {
    due: Arc<Due>,
    longest: Duration,
}

impl Patience {
    /// Returns once nothing was taken for too long.
    fn poll(&self, cx: &mut Context<'_>, mut late: Pin<&mut Option<Sleep>>) -> Poll<()> {
        loop {
            if !self.due.is_any() {
                late.set(None);
                return Poll::Pending;
            }
            if self.due.has_moved() || late.is_none() {
                late.set(Some(tokio::time::sleep(self.longest)));
            }
            if let Some(late) = late.as_mut().as_pin_mut() {
                ready!(late.poll(cx));
            }
            if !self.due.has_moved() {
                return Poll::Ready(());
            }
            late.set(None);
        }
    }
}

impl Streams {
    /// Answers a request.
    async fn answer(stream: impl Future<Output = ()>, patience: Patience) {
        let mut stream = std::pin::pin!(stream);
        let mut late = std::pin::pin!(None);
        std::future::poll_fn(|cx| {
            AT.set(Some(At {
                due: Arc::clone(&patience.due),
                over: None,
            }));
            let polled = stream.as_mut().poll(cx);
            AT.set(None);
            if polled.is_ready() {
                return polled;
            }
            let late = patience.poll(cx, late.as_mut());
            if late.is_ready() {
                debug!("a stream of which nobody takes anything is cut off");
            }
            late
        })
        .await;
    }

    /// Carries what goes to the client of a tunnel.
    // SECURITY: the last piece of a tunnel that was cut off because nobody takes anything waits for the
    // client like those before it.
    async fn carry(stream: impl Future<Output = ()>, over: Option<Over>, patience: Duration) {
        let late = async {
            match over {
                Some(over) => over.wait().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            () = stream => {}
            () = late => debug!("what is left of a tunnel is taken by nobody"),
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let longest = self.patience;
        // A tunnel begins while the request for it is answered.
        match AT.with_borrow_mut(|at| at.as_mut().map(|at| at.over.take())) {
            None => {
                let task = OneTask::begin(&self.count, Kind::Request);
                let due = Arc::default();
                tokio::spawn(async move {
                    let _task = task;
                    Self::answer(stream, Patience { due, longest }).await;
                });
            }
            Some(over) => {
                let task = OneTask::begin(&self.count, Kind::Tunnel);
                tokio::spawn(async move {
                    let _task = task;
                    Self::carry(stream, over, longest).await;
                });
            }
        }
    }
}
