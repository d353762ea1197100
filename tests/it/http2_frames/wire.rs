//! HTTP/2 by hand: frames as bytes, header blocks without compression, and a connection that says
//! what came of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::World;

/// What a client says first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 32;

/// Both ends of a request's head.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const COMPRESSION_ERROR: u32 = 9;

/// What a frame of the wrong size ends a connection with. h2 says that of some in general terms.
pub const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
/// The same for a header block that cannot be unpacked.
pub const PACKING: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];
/// The same for a window that grows too large.
pub const WINDOW: &[u32] = &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR];

/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A SETTINGS frame.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in values {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A `WINDOW_UPDATE` frame.
pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A header block: every line as a literal with a name of its own, which nobody remembers
/// (RFC 7541, section 6.2.2).
pub fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in lines {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A text without Huffman coding (RFC 7541, section 5.2).
fn text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128 + 128).unwrap());
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap());
    }
    bytes.extend(text.as_bytes());
}

/// A frame that came back.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..at + 4).expect("four bytes");
        u32::from_be_bytes(bytes.try_into().unwrap())
    }
}

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
pub struct Line {
    stream: TcpStream,
    closed: bool,
}

impl Line {
    /// A connection on which nothing was said.
    pub async fn silent(world: &World) -> Self {
        let stream = TcpStream::connect(world.gate).await.unwrap();
        Self {
            stream,
            closed: false,
        }
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
        let (mut theirs, mut ours) = (false, false);
        while !(theirs && ours) {
            let frame = line.frame().await.expect("settings");
            if frame.kind == SETTINGS && frame.flags & ACK != 0 {
                ours = true;
            } else if frame.kind == SETTINGS {
                theirs = true;
                line.send(&self::frame(SETTINGS, ACK, 0, &[])).await;
            }
        }
        line
    }

    /// Sends bytes. That nobody takes them is seen by whoever reads.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.closed = true;
        }
    }

    /// The next frame; `None` where the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
                payload,
            })
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("a frame, or the end, in time")
    }

    /// Waits for the first thing that says what came of what was sent.
    pub async fn outcome(&mut self) -> Outcome {
        loop {
            let Some(frame) = self.frame().await else {
                return Outcome::Died(None);
            };
            match frame.kind {
                GOAWAY => return Outcome::Died(Some(frame.number(4))),
                RST_STREAM => return Outcome::Reset(frame.stream, frame.number(0)),
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

/// The status at the head of a header block (RFC 7541, section 6 and appendix A).
fn status(block: &[u8]) -> u16 {
    // Where the size of the table changes, this is said first.
    let at = block.iter().position(|byte| byte >> 5 != 1).unwrap();
    let block = &block[at..];
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        literal if matches!(literal & 0x3f, 8..=14) => {
            let length = usize::from(block[1] & 0x7f);
            let value = &block[2..2 + length];
            if block[1] & 0x80 == 0 {
                std::str::from_utf8(value).unwrap().parse().unwrap()
            } else {
                digits(value)
            }
        }
        other => panic!("a block that begins with {other:#x}"),
    }
}

/// Digits in Huffman coding (RFC 7541, appendix B): `0` to `2` have five bits, the others six.
fn digits(coded: &[u8]) -> u16 {
    let bits: Vec<u8> = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    while at + 5 <= bits.len() {
        let five = number(&bits[at..at + 5]);
        if five < 3 {
            value = value * 10 + five;
            at += 5;
        } else if at + 6 <= bits.len() && matches!(number(&bits[at..at + 6]), 25..=31) {
            value = value * 10 + number(&bits[at..at + 6]) - 25 + 3;
            at += 6;
        } else {
            break;
        }
    }
    value
}
