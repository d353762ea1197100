//! Picks an input, changes it, runs it, and keeps it if something new came of it.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What came of an input: a sign that differs where the gate behaved differently, or what is broken.
pub type Outcome = Result<String, String>;

/// How many targets share the time.
const TARGETS: u32 = 13;

/// The longest input, in bytes; longer ones only cost time.
const LONGEST: usize = 16 * 1024;

/// Longer than this for one input, even unoptimised and on a busy machine, and somebody could stop
/// the gate with a few requests.
const SLOWEST: Duration = Duration::from_mins(1);

/// Texts that mean something somewhere.
const WORDS: &[&str] = &[
    "/",
    "//",
    "..",
    "%2e",
    "%252e",
    "%2F",
    "%5C",
    "\\",
    ";",
    "%3B",
    "?",
    "#",
    "%3F",
    "%00",
    "%25",
    "%u0061",
    "admin",
    "ADMIN",
    ".json",
    "/index.php",
    "%EF%BC%8F",
    "%C0%AF",
    "%FF",
    "{\"",
    "\":",
    "[",
    "]",
    "null",
    "true",
    "-1",
    "1e999",
    "\n",
    "\r\n",
    ": ",
    "; ",
    "=",
    ",",
    ", ",
    "Bearer ",
    "__session",
    "__client_uat=1",
    "__clerk_db_jwt=d",
    "__clerk_handshake=",
    "__clerk_handshake_nonce=n",
    "__refresh_",
    "{good}",
    "{admin}",
    "{expired}",
    "{pending}",
    "!signature good",
    "!payload ",
    "!refresh ",
    "svix-id: msg_1",
    "svix-timestamp: 1790000000",
    "v1,",
    "session.ended",
    "x-forwarded-for: ",
    "x-forwarded-host: ",
    "x-forwarded-proto: https",
    "10.0.0.1",
    "[::1]",
    "evil.example",
    "https://",
    "@",
    ":8443",
    "redirect_url=",
    "&",
    "javascript:",
    "\t",
    "é",
    "[[route]]\n",
    "path = ",
    "require = ",
    "\"/**\"",
    "kid",
    "kty",
    "RSA",
    "alg",
    "RS256",
    "crit",
    "exp",
    ".",
    "sec-fetch-dest: document",
    "PROXY TCP4 ",
    "TCP6",
    "UNKNOWN",
    " 443\r\n",
    "\r\n\r\n\0\r\nQUIT\n",
    "\x21\x11\0\x0c",
    "\x0a\x04",
    "\x22\x02",
    "!joined",
    " HTTP/1.1 203.0.113.7\n",
    "::ffff:203.0.113.7",
    "\u{202e}",
    "🎉",
];

/// Runs a target on its corpus and on changes of it until its time is over.
pub fn fuzz(name: &str, target: &dyn Fn(&[u8]) -> Outcome, made: &[Vec<u8>]) {
    let seed = setting("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let seconds = setting("FUZZ_SECONDS").unwrap_or(u64::from(TARGETS));
    let time = Duration::from_secs(seconds) / TARGETS;
    let mut run = Run {
        target,
        seen: HashSet::new(),
        pool: Vec::new(),
        slowest: Duration::ZERO,
        executions: 0,
    };
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has a corpus");
    let begun = now();
    for input in corpus.iter().chain(made) {
        run.try_input(name, seed, input.clone(), Keep::Always);
    }
    let mut random = Random(seed);
    while begun.elapsed() < time {
        let input = changed(&run.pool, &mut random);
        run.try_input(name, seed, input, Keep::IfNew);
    }
    println!(
        "{name}: seed {seed}, {} executions in {:.1} s, {} kinds of behaviour, slowest {} ms",
        run.executions,
        begun.elapsed().as_secs_f64(),
        run.seen.len(),
        run.slowest.as_millis()
    );
}

struct Run<'t> {
    target: &'t dyn Fn(&[u8]) -> Outcome,
    seen: HashSet<String>,
    pool: Vec<Vec<u8>>,
    slowest: Duration,
    executions: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Always,
    IfNew,
}

impl Run<'_> {
    fn try_input(&mut self, name: &str, seed: u64, input: Vec<u8>, keep: Keep) {
        let begun = now();
        let outcome = self.outcome(&input);
        let took = begun.elapsed();
        self.executions += 1;
        self.slowest = self.slowest.max(took);
        assert!(
            took < SLOWEST,
            "{name}, seed {seed}: {took:?} for\n{}",
            input.escape_ascii()
        );
        let Ok(sign) = outcome else {
            let short = self.shortened(input);
            let broken = self.outcome(&short).err().unwrap_or_default();
            panic!("{name}, seed {seed}: {broken}\n{}", short.escape_ascii());
        };
        if self.seen.insert(sign) || keep == Keep::Always {
            self.pool.push(input);
        }
    }

    fn outcome(&self, input: &[u8]) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| (self.target)(input))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("a panic: {}", said.unwrap_or_default()))
        })
    }

    /// Takes pieces away as long as it stays broken.
    fn shortened(&self, mut input: Vec<u8>) -> Vec<u8> {
        let mut piece = input.len() / 2;
        while piece > 0 {
            let mut at = 0;
            while at + piece <= input.len() {
                let mut less = input.clone();
                less.drain(at..at + piece);
                if self.outcome(&less).is_err() {
                    input = less;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
        input
    }
}

/// An input of the pool, changed in a few places.
fn changed(pool: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = pool[random.below(pool.len())].clone();
    for _ in 0..=random.below(5) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(12)).min(input.len());
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.byte(),
            2 => input.insert(at, random.byte()),
            3 if at < end => drop(input.drain(at..end)),
            4 if at < end => {
                let piece = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            5 => {
                let other = &pool[random.below(pool.len())];
                let from = random.below(other.len() + 1);
                let until = (from + random.below(64)).min(other.len());
                input.splice(at..at, other[from..until].to_vec());
            }
            6 if at < end => {
                let word = WORDS[random.below(WORDS.len())];
                input.splice(at..end, word.bytes());
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    // An editor's line end at the end of a file is none of the input.
    for input in &mut inputs {
        while input.last() == Some(&b'\n') {
            input.pop();
        }
    }
    inputs
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a run takes is said by whoever starts it"
)]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a run lasts as long as it was told, by the wall clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// `SplitMix64`: small, and good enough to choose.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
