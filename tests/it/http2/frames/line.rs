//! The client's end of a connection in HTTP/2, frame by frame, which says what came of what was sent.

use crate::support::World;
use crate::support::frames::{
    ACK, DATA, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
    settings, status,
};
use crate::support::wire::Wire;

/// What came of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection was given up, for this reason if one was said.
    Died(Option<u32>),
    /// A stream was given up.
    Reset(u32, u32),
    /// A stream was answered.
    Answered(u32, u16),
    /// A PING was answered, and nothing came before.
    Lived,
}

/// A connection to the gate.
pub struct Line(pub Wire);

impl Line {
    /// A connection on which nothing was said.
    pub async fn silent(world: &World) -> Self {
        Self(Wire::connect(world.gate).await)
    }

    /// A connection on which both have said their settings.
    pub async fn open(world: &World) -> Self {
        Self::open_with(world, &[]).await
    }

    /// The same with settings of one's own.
    pub async fn open_with(world: &World, values: &[(u16, u32)]) -> Self {
        let mut line = Self::silent(world).await;
        line.send(PREFACE).await;
        line.send(&settings(values)).await;
        let acknowledged = frame(SETTINGS, ACK, 0, &[]);
        let (mut theirs, mut ours) = (false, false);
        while !(theirs && ours) {
            let frame = line.frame().await.expect("settings");
            if frame.kind == SETTINGS && frame.flags & ACK != 0 {
                ours = true;
            } else if frame.kind == SETTINGS {
                theirs = true;
                line.send(&acknowledged).await;
            }
        }
        line
    }

    /// Sends bytes. That nobody takes them is seen by whoever reads.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.try_send(bytes).await;
    }

    /// The next frame; `None` where the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        self.0.frame().await
    }

    /// Waits for the first thing that says what came of what was sent.
    pub async fn outcome(&mut self) -> Outcome {
        loop {
            let Some(frame) = self.frame().await else {
                return Outcome::Died(None);
            };
            match frame.kind {
                GOAWAY => return Outcome::Died(Some(frame.code())),
                RST_STREAM => return Outcome::Reset(frame.stream, frame.code()),
                HEADERS => return Outcome::Answered(frame.stream, status(&frame.payload)),
                PING if frame.flags & ACK != 0 => return Outcome::Lived,
                _ => {}
            }
        }
    }

    /// Waits for the end of a stream, and gives its DATA.
    pub async fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.frame().await.expect("a body");
            if frame.stream == stream && frame.kind == DATA {
                body.extend(&frame.payload);
                if frame.flags & END_STREAM != 0 {
                    return body;
                }
            }
        }
    }

    /// Asks whether the connection still lives.
    pub async fn ping(&mut self) {
        self.send(&frame(PING, 0, 0, b"are you?")).await;
    }
}
