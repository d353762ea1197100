//! The strictest reading wins: nobody reaches what some server takes for a protected path.
//!
//! Paths are made of a protected one, spelt in every way we know, and put to policies of several
//! shapes. Whatever the gate lets through to the upstream for somebody without the right, no
//! reader (`readers`) may find in the protected subtree.

use clerk_gate::core::path::CanonicalPath;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;

use crate::readers;
use crate::support::protected::{Shape, fault, lets_through, shapes};

/// Pieces that paths are made of: ways in, ways up, the protected names, and what may follow.
const BEFORE: &[&str] = &[
    "",
    "",
    "",
    "/public",
    "/assets",
    "/docs",
    "/a/b",
    "/app",
    "/app",
    "/app/app",
    "/app/x",
    "/index.php",
    "/public/index.php",
    "/x.cgi",
    "/*",
    "/;",
    "/a;b",
    "/.",
    "/%2e",
    "/admin",
];
const UP: &[&str] = &[
    "",
    "",
    "",
    "/..",
    "/..;",
    "/..;x=1",
    "/%2e%2e",
    "/%252e%252e",
    "/.%252e",
    "\\..",
    "/..%2f..",
    "/..%252f..",
    "/..%255c..",
    "/..%5c..",
    "/...",
    "/.. ",
    "/..%20",
    "/%20..",
    "/..%c2%a0",
    "/%EF%BC%8E%EF%BC%8E",
    "%EF%BC%8F..",
    "%EF%BC%8F%EF%BC%8E%EF%BC%8E",
    "/%E2%80%A5",
    "/..%EF%BC%9Bx",
    "/.%C2%AD.",
    "/..%FF",
    "/..%3Bx",
    "/..%253Bx",
    "//..",
    "/x//..",
    "/..%00",
    "/..%c0%af..",
    "/%c0%ae%c0%ae",
    "/%25c0%25ae.",
    "%c0%2f..",
    "/..%253f",
    "/..%2523",
    "/;%252f..",
    "/a;%252f../..",
];
const NAMES: &[&str] = &[
    "/admin",
    "/admin",
    "/admin",
    "/app/admin",
    "/public/admin",
    "/base/admin",
];
const AFTER: &[&str] = &[
    "",
    "",
    "",
    "/",
    "/users",
    ".json",
    ".html.en",
    "/x.css",
    ".css",
    ".php/x",
    ";x=1",
    ";",
    "%3B",
    "%253Bx",
    "%3Fx",
    "%253Fx",
    "%23",
    "%2523x",
    ".",
    "..",
    "%20",
    " ",
    "%20.",
    "%C2%A0",
    "+",
    "::$DATA",
    ":$I30:$INDEX_ALLOCATION",
    "/..;/public",
    "/%252e%252e/public",
    "/..%3B/x",
    "%00",
    "%2500.css",
    "%0a",
    "%ff",
    "%C2%AD",
    "%E2%80%8D",
    "%2f",
    "%2F..%2Fadmin",
    "%5cx",
    "%255cx",
    "//",
    "%252f",
    "/;/",
    "%EF%BC%8Fx",
    "%EF%BC%9Bx",
    "%EF%BC%9Fx",
    ".css;.css",
    ".json;.css",
    "%252f..%252fpublic",
    "%c0%afx",
    "%c0%2fx",
];

/// One letter in another spelling.
fn respelt(letter: char, how: usize) -> String {
    let plain = letter.to_string();
    let byte = u32::from(letter);
    match how {
        0 => letter.to_ascii_uppercase().to_string(),
        1 => format!("%{byte:02x}"),
        2 => format!("%{byte:02X}"),
        3 => format!("%25{byte:02x}"),
        4 => format!("%2525{byte:02x}"),
        5 => format!("%25%32%{byte:02x}"),
        6 => char::from_u32(byte + 0xfee0)
            .filter(|_| byte > 0x20)
            .map_or(plain, |wide| wide.to_string()),
        7 => percent_encoding::utf8_percent_encode(
            &char::from_u32(byte + 0xfee0).unwrap_or(letter).to_string(),
            percent_encoding::NON_ALPHANUMERIC,
        )
        .to_string(),
        8 => format!("%c{}%{:02x}", byte >> 6, 0x80 | (byte & 0x3f)),
        9 => format!("%c{}%{:02x}", byte >> 6, 0x40 | (byte & 0x3f)),
        10 => format!("%u00{byte:02x}"),
        11 => format!("%25u00{byte:02x}"),
        12 => format!("%C2%AD{letter}"),
        13 => format!("%00{letter}"),
        14 => format!("{letter}%FF"),
        15 => format!("%E2%80%8B{letter}"),
        16 => format!("%09{letter}"),
        17 if letter == 'i' => "%C4%B1".to_owned(),
        17 if letter == 'd' => "%E2%85%BE".to_owned(),
        17 if letter == 'm' => "%E2%85%BF".to_owned(),
        17 => format!("%C2%85{letter}"),
        _ => plain,
    }
}

fn path() -> impl Strategy<Value = String> {
    let respellings = prop::collection::vec((any::<Index>(), 0..18_usize), 0..4);
    let pieces = (
        select(BEFORE),
        prop::collection::vec(select(UP), 0..3),
        select(NAMES),
        prop::collection::vec(select(AFTER), 0..3),
    );
    (pieces, respellings).prop_map(|((before, up, name, after), respellings)| {
        let text: String = [before, &up.concat(), name, &after.concat()].concat();
        let mut letters: Vec<String> = text.chars().map(String::from).collect();
        for (at, how) in respellings {
            let at = at.index(letters.len());
            if let Some(letter) = text.chars().nth(at) {
                letters[at] = respelt(letter, how);
            }
        }
        letters.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_reaches_what_a_server_takes_for_a_protected_path(path in path()) {
        SHAPES.with(|shapes| match fault(shapes, &path) {
            Some(fault) => Err(TestCaseError::fail(fault)),
            None => Ok(()),
        })?;
    }
}

thread_local! {
    /// Compiled once.
    static SHAPES: Vec<Shape> = shapes();
}

#[test]
fn the_spellings_found_so_far_reach_nothing() {
    let shapes = shapes();
    let faults: Vec<String> = [
        // A front controller that does not stand at the root.
        "/public/index.php/admin",
        // Compatibility characters that hide a delimiter or a dot segment.
        "/public/%EF%BC%8E%EF%BC%8E/admin",
        "/public%EF%BC%8F..%EF%BC%8Fadmin",
        "/public/%E2%80%A5/admin",
        "/public/..%EF%BC%9Bx/admin",
        "/public/%EF%BC%8E%EF%BC%8E/admin%252f..%252fpublic",
        "/public/.../%E2%80%A5/admin",
        // Spaces, characters that show nothing and broken UTF-8, in names and in dot segments.
        "/public/..%20/x/../admin",
        "/%20admin",
        "/ad%E2%80%8Bmin",
        "/adm%C2%85in",
        "/adm%FFin",
        "/public/..%FF/admin",
        // Letters that only upper case makes equal.
        "/adm%C4%B1n",
        // Streams of NTFS.
        "/admin::$DATA",
        "/admin:$I30:$INDEX_ALLOCATION/x",
        // Old decoders: of characters, of overlong forms, and of those behind a second decoding.
        "/adm%25u0069n",
        "/a%25u002fb/;%252f../admin",
        "/%C1%61dmin",
        "/public/..%C0%6Fadmin",
        "/public/%25c0%25ae%25c0%25ae/admin",
        "/public/%25f8%2580%2580%2580%25ae./admin",
        // Parameters that hide what a second decoding brings out, or the other way round.
        "/public/;%252f../admin",
        "/%2561dmin;%252F../x",
        // Dot segments that nobody resolves, or that take an empty name away.
        "/%2561dmin/%252e%252e/public",
        "/%2561dmin%252F%252F../x",
        // Escaped dots that are resolved before an escaped slash is one.
        "/public/%252e%252e/admin%252f..%252fpublic",
        // An extension that a public pattern names, behind a second decoding.
        "/docs/..%252f..%252fadmin.json;.css",
        // Ways out of a prefix that is taken away or put in front.
        "/app/x/..;/..;/admin",
        "/app/..;/admin",
        "/app/%252e%252e/admin",
        "/app/x%2F..%2F..%2Fadmin",
        "/app/index.php/admin",
        "/app/ADMIN",
        "/app/%2Fadmin",
        "/public/..;/..;/admin",
        // Out of one and back into it.
        "/app/..%20/base/admin",
        "/app/x/..;/..;/base/admin",
        "/app/%252e%252e/base/admin",
        // To an application that takes its prefix away once more.
        "/app/app/admin",
        "/app/app/x/..;/admin",
        "/public/%252e%252e/%252e%252e/admin",
    ]
    .iter()
    .filter_map(|path| fault(&shapes, path))
    .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The property means something only if much of what is made can be read, is let through, and is
/// found by somebody.
#[test]
fn the_property_has_something_to_look_at() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let shapes = shapes();
    let scene = &shapes[1].scene;
    let (mut read, mut through, mut found, mut moved) = (0, 0, 0, 0);
    for _ in 0..500 {
        let path = path().new_tree(&mut runner).unwrap().current();
        if let Ok(canonical) = CanonicalPath::parse(&path) {
            read += 1;
            through += usize::from(lets_through(scene, &path, None).is_some());
            moved += shapes[6..]
                .iter()
                .filter_map(|shape| lets_through(&shape.scene, &path, None))
                .filter(|forwarded| forwarded != canonical.as_str())
                .count();
            found += usize::from(readers::finds(canonical.as_str(), "/admin").is_some());
        }
    }
    assert!(
        read > 150 && through > 75 && found > 50 && moved > 20,
        "{read} read, {through} let through, {found} found, {moved} moved"
    );
}
