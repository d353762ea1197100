//! Where the frames of a WebSocket end (RFC 6455, section 5.2), told from the bytes as they go by.
//!
//! Nothing is held back and no payload is looked at: what is kept of a frame is its head, as long as
//! it is not whole, and how much of it is still to come.

/// The longest head of a frame: two bytes, eight of length, four of mask.
const MAX_HEAD: usize = 14;

/// The opcode of a frame that closes a connection.
const CLOSE: u8 = 8;

/// Follows one direction of a WebSocket.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: [u8; MAX_HEAD],
    /// How much of a head has gone by.
    known: usize,
    /// How much of the payload is still to come.
    left: u64,
    /// Whether the frame that is under way, or was last, closes the connection.
    closes: bool,
}

impl Frames {
    /// Whether the last frame is whole and the next has not begun.
    pub fn at_boundary(&self) -> bool {
        self.known == 0 && self.left == 0
    }

    /// Whether a frame that closes the connection has gone by.
    pub fn has_closed(&self) -> bool {
        self.closes && self.at_boundary()
    }

    /// Lets bytes go by, up to the end of the frame that is under way or begins with them; how many
    /// of them that are.
    pub fn pass_one(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        if self.left == 0 {
            while let Some((byte, after)) = rest.split_first() {
                rest = after;
                if let Some(place) = self.head.get_mut(self.known) {
                    *place = *byte;
                }
                self.known += 1;
                if let Some(payload) = self.payload() {
                    self.closes = self.head.first().is_some_and(|first| first & 0xf == CLOSE);
                    self.known = 0;
                    self.left = payload;
                    break;
                }
            }
        }
        let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(self.left);
        self.left -= here;
        let payload = usize::try_from(here).unwrap_or(usize::MAX);
        bytes.len() - rest.len() + payload
    }

    /// Lets bytes go by, however many frames they are.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let passed = self.pass_one(rest);
            // INVARIANT: of bytes that are there at least one is passed.
            rest = rest.get(passed..).unwrap_or_default();
        }
    }

    /// The length of the payload, once the head is whole.
    fn payload(&self) -> Option<u64> {
        let head = self.head.get(..self.known)?;
        let second = *head.get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (extended, length) = match second & 0x7f {
            126 => (2, be(head.get(2..4)?)),
            127 => (8, be(head.get(2..10)?)),
            short => (0, u64::from(short)),
        };
        (head.len() >= 2 + extended + mask).then_some(length)
    }
}

/// A number, its most significant byte first.
fn be(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Who sends a frame: what a client sends is masked (section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The server.
    Server,
    /// The client, with this key.
    Client([u8; 4]),
}

/// A frame that closes a connection with this code, and a reason of at most 123 bytes.
pub fn close(sender: Sender, code: u16, reason: &str) -> Vec<u8> {
    let reason = reason.get(..reason.len().min(123)).unwrap_or_default();
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    // INVARIANT: at most 125, so that it fits into seven bits.
    let length = u8::try_from(payload.len()).unwrap_or(125);
    let mut frame = vec![0x80 | CLOSE];
    match sender {
        Sender::Server => frame.push(length),
        Sender::Client(key) => {
            frame.push(0x80 | length);
            frame.extend_from_slice(&key);
            for (byte, mask) in payload.iter_mut().zip(key.iter().cycle()) {
                *byte ^= mask;
            }
        }
    }
    frame.extend_from_slice(&payload);
    frame
}
