//! What people try at a gate like this one, from tables (`tests/cases/attacks/`): a line for each
//! try, and a line of why for each group. Every test ends with what did not arrive.
//!
//! A table is read from the top. `## name: why` begins a group, `# ` a remark; every other line is
//! a case, with what is expected of it behind ` -> `. `\r`, `\n`, `\t`, `\\`, `\xNN` stand for
//! bytes, `{x*3}` for `xxx`.

mod framing;
mod heard;
mod hosts;
mod identity;
mod paths;
mod redirects;
mod sites;
mod stage;
mod tokens;
mod upstreams;

use std::fmt::Display;
use std::path::Path;

use crate::support::World;

/// A line of a table.
pub struct Case {
    /// What the group tries.
    pub group: String,
    /// What is sent.
    pub input: Vec<u8>,
    /// What stands behind the arrow.
    pub expected: String,
    /// The line as it is written.
    pub line: String,
}

impl Case {
    /// A fault of this case, for [`assert_none`].
    pub fn fault(&self, what: impl Display) -> String {
        format!("{}: {}: {what}", self.group, self.line)
    }

    /// What is sent, with the address of the gate in it.
    pub fn at(&self, world: &World) -> Vec<u8> {
        let port = world.gate.port().to_string();
        let input = replace(
            &self.input,
            b"{host}",
            format!("localhost:{port}").as_bytes(),
        );
        replace(&input, b"{port}", port.as_bytes())
    }
}

/// Reads a table, which must have at least `least` cases, all of them different.
#[track_caller]
pub fn table(name: &str, least: usize) -> Vec<Case> {
    let mut group = None;
    let mut cases: Vec<Case> = Vec::new();
    for line in read(name).lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let (name, why) = heading.split_once(": ").expect("a name and a why");
            assert!(!why.is_empty(), "{heading}");
            group = Some(name.to_owned());
        } else if !line.is_empty() && !line.starts_with("# ") {
            let (input, expected) = line.rsplit_once(" -> ").unwrap_or((line, ""));
            let group = group.clone().expect("a group");
            let known = cases
                .iter()
                .any(|known| (&*known.line, &known.group) == (line, &group));
            assert!(!known, "twice in `{name}`: {line}");
            cases.push(Case {
                group,
                input: unescape(input),
                expected: String::from_utf8(unescape(expected)).unwrap(),
                line: line.to_owned(),
            });
        }
    }
    assert!(cases.len() >= least, "only {} in `{name}`", cases.len());
    cases
}

/// The text of a file beside the tables.
pub fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/attacks");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The bytes that a case stands for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let repeated = || {
            let (inside, after) = rest.strip_prefix('{')?.split_once('}')?;
            let (piece, times) = inside.rsplit_once('*')?;
            Some((unescape(piece).repeat(times.parse().ok()?), after))
        };
        if let Some((piece, after)) = repeated() {
            bytes.extend_from_slice(&piece);
            rest = after;
            continue;
        }
        let taken = if sign == '\\' {
            let escape = rest.chars().nth(1).expect("something behind the backslash");
            bytes.push(match escape {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '\\' => b'\\',
                'x' => u8::from_str_radix(&rest[2..4], 16).expect("two digits"),
                other => panic!("`\\{other}` in {text}"),
            });
            if escape == 'x' { 4 } else { 2 }
        } else {
            bytes.extend_from_slice(&rest.as_bytes()[..sign.len_utf8()]);
            sign.len_utf8()
        };
        rest = &rest[taken..];
    }
    bytes
}

/// Puts `new` wherever `old` stands.
pub fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(old) {
            replaced.extend_from_slice(new);
            at += old.len();
        } else {
            replaced.push(bytes[at]);
            at += 1;
        }
    }
    replaced
}

/// Fails with every fault that was found, a line for each.
#[track_caller]
pub fn assert_none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
