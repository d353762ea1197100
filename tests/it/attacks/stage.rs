//! An application that misbehaves as a line of the table says, and gates before it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clerk_gate::upstream::Reuse;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Case;
use super::upstreams::PATIENCE;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, usual_routes};

/// Between two bytes of somebody who dribbles.
const DRIBBLE: Duration = Duration::from_millis(20);

/// What an application does, one after the other.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    Say(Vec<u8>),
    SaySlowly(Vec<u8>),
    WithoutEnd(Vec<u8>),
    Close,
    Reset,
}

/// A line of the table, as it is played.
pub struct Play {
    /// How the client asks.
    pub method: &'static str,
    /// What it says besides.
    pub lines: &'static str,
    at_once: bool,
    begun: AtomicBool,
    acts: Vec<Act>,
    /// How often the application was asked.
    pub asked: AtomicUsize,
    /// Whether the next client came over the connection that the play was on.
    pub reused: AtomicBool,
    /// How many connections the play is still on.
    pub open: watch::Sender<usize>,
}

impl Play {
    pub fn of(case: &Case) -> Self {
        let mut play = Self {
            method: "GET",
            lines: "",
            at_once: false,
            begun: AtomicBool::new(false),
            acts: Vec::new(),
            asked: AtomicUsize::new(0),
            reused: AtomicBool::new(false),
            open: watch::Sender::new(0),
        };
        let (mut rest, mut slowly) = (&case.input[..], false);
        while !rest.is_empty() {
            let order = |name: &&str| rest.starts_with(format!("<{name}>").as_bytes());
            let Some(order) = ORDERS.iter().copied().find(order) else {
                let end = (1..rest.len())
                    .find(|at| {
                        let rest = &rest[*at..];
                        let order = |name: &&str| rest.starts_with(format!("<{name}>").as_bytes());
                        ORDERS.iter().any(order)
                    })
                    .unwrap_or(rest.len());
                let piece = rest[..end].to_vec();
                let say = if slowly { Act::SaySlowly } else { Act::Say };
                play.acts.push(say(piece));
                (rest, slowly) = (&rest[end..], false);
                continue;
            };
            rest = &rest[order.len() + 2..];
            match order {
                "HEAD" | "POST" | "websocket" => play.method = order,
                "trailers" => play.lines = "te: trailers\r\n",
                "at once" => play.at_once = true,
                "slowly" => slowly = true,
                "close" => play.acts.push(Act::Close),
                "reset" => play.acts.push(Act::Reset),
                "without end" => match play.acts.pop() {
                    Some(Act::Say(piece)) => play.acts.push(Act::WithoutEnd(piece)),
                    other => panic!("{other:?} without end"),
                },
                _ => {}
            }
        }
        play
    }

    /// Does it all. Gives the connection back unless it has ended.
    async fn act(&self, mut wire: Wire) -> Option<Wire> {
        for act in &self.acts {
            let taken = match act {
                Act::Say(bytes) => wire.sends(bytes).await,
                Act::SaySlowly(bytes) => {
                    let mut taken = true;
                    for byte in bytes {
                        taken = taken && wire.sends(&[*byte]).await;
                        if !taken {
                            break;
                        }
                        tokio::time::sleep(DRIBBLE).await;
                    }
                    taken
                }
                Act::WithoutEnd(piece) => {
                    let piece = piece.repeat(1 + 16_000 / piece.len());
                    let began = Instant::now();
                    while wire.sends(&piece).await {
                        assert!(began.elapsed() < 2 * PATIENCE, "it is taken without end");
                    }
                    false
                }
                Act::Close => return None,
                Act::Reset => {
                    wire.reset();
                    return None;
                }
            };
            if !taken {
                return None;
            }
        }
        Some(wire)
    }
}

/// The orders that a line may give.
const ORDERS: [&str; 11] = [
    "trailers",
    "HEAD",
    "POST",
    "websocket",
    "at once",
    "then",
    "slowly",
    "without end",
    "close",
    "reset",
    "hang",
];

/// Counts a connection among those that a play is on, for as long as it is held.
struct OnStage(Arc<Play>);

impl OnStage {
    fn enter(play: &Arc<Play>) -> Self {
        play.open.send_modify(|open| *open += 1);
        Self(Arc::clone(play))
    }
}

impl Drop for OnStage {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// An application that plays what is on, and behaves towards whoever asks for `next`.
pub struct Stage {
    on: Arc<Mutex<Option<Arc<Play>>>>,
    /// Gates that wait for an answer as long as usual, and hardly at all.
    pub patient: World,
    pub hasty: World,
}

impl Stage {
    /// Puts another play on.
    pub fn put_on(&self, play: &Arc<Play>) {
        *self.on.lock().unwrap() = Some(Arc::clone(play));
    }

    pub async fn open() -> Self {
        let on: Arc<Mutex<Option<Arc<Play>>>> = Arc::default();
        let upstream = WireUpstream::start().await;
        let address = upstream.address;
        let world = |response: Duration| {
            World::with(usual_routes())
                .before(address)
                .configure(move |config| {
                    config.upstreams[0].response_timeout = response;
                    // The harder case: who comes next may get a connection that others have had.
                    config.upstreams[0].reuse = Reuse::Always;
                })
                .start()
        };
        let stage = Self {
            on: Arc::clone(&on),
            patient: world(PATIENCE).await,
            hasty: world(Duration::from_secs(1)).await,
        };
        tokio::spawn(async move {
            loop {
                let wire = upstream.next().await;
                tokio::spawn(serve(wire, Arc::clone(&on)));
            }
        });
        stage
    }
}

async fn serve(wire: Wire, on: Arc<Mutex<Option<Arc<Play>>>>) {
    let mut wire = wire;
    let mut on_stage = None;
    let current = || Arc::clone(on.lock().unwrap().as_ref().expect("a play is on"));
    let play = current();
    if play.at_once && !play.begun.swap(true, Ordering::SeqCst) {
        on_stage = Some(OnStage::enter(&play));
        let Some(kept) = play.act(wire).await else {
            return;
        };
        wire = kept;
    }
    while let Some(head) = wire.next_head().await {
        if head.contains("/next HTTP") {
            if let Some(OnStage(play)) = &on_stage {
                play.reused.store(true, Ordering::SeqCst);
            }
            let user = head
                .split("\r\n")
                .find_map(|line| line.strip_prefix("x-user-id: "));
            let body = format!("own of {}", user.unwrap_or("nobody"));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            wire.sends(answer.as_bytes()).await;
            return;
        }
        let play = current();
        play.asked.fetch_add(1, Ordering::SeqCst);
        if play.at_once {
            continue;
        }
        on_stage = Some(OnStage::enter(&play));
        let Some(kept) = play.act(wire).await else {
            return;
        };
        wire = kept;
    }
}
