//! The floors of the house (style guide, section 2): imports point down only.

use std::fs;
use std::path::{Path, PathBuf};

/// What a rule is broken by: who imports, and what.
type Import = (String, String);

/// The floor of a module below the crate's root; `None` for what stands in the walls or beside
/// the house.
fn floor(module: &str) -> Option<u8> {
    match module {
        "main" | "cli" | "server" => Some(4),
        "modes" | "admin" | "config" => Some(3),
        "gate" | "pages" => Some(2),
        "clerk" | "store" | "upstream" | "rewrite" => Some(1),
        "core" => Some(0),
        _ => None,
    }
}

fn is_wiring(module: &str) -> bool {
    matches!(module, "telemetry" | "clock" | "tls")
}

/// Whether `from` may import `to`; both are modules right below the crate's root.
fn may_know(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    match (floor(from), floor(to)) {
        // The configuration's types stay with those who read it and those who build from it.
        _ if to == "config" => matches!(from, "server" | "cli"),
        // An annexe: for the commands of developers, and over nothing but the core.
        _ if to == "standin" => from == "cli",
        _ if from == "standin" || is_wiring(from) => to == "core" || is_wiring(to),
        (Some(above), _) if is_wiring(to) => above > 0,
        (Some(4), Some(4)) => matches!((from, to), ("main", "cli" | "server") | ("cli", "server")),
        (Some(above), Some(below)) => above > below,
        _ => false,
    }
}

/// The imports in `text`, the source of the module at `path` (names from the crate's root down),
/// that break a rule.
fn broken_rules(path: &[&str], text: &str) -> Vec<Import> {
    let from = path.first().copied().unwrap_or_default();
    imports(path, text)
        .into_iter()
        .filter(|to| !may_know(from, to))
        .map(|to| (path.join("::"), to))
        .collect()
}

/// The modules right below the crate's root that a source text names: in `use`, however it is
/// grouped, and in paths written out. An import of the root itself is called `*`.
fn imports(path: &[&str], text: &str) -> Vec<String> {
    let words = words(&without_tests(&without_prose(text)));
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let begins = matches!(words[at].as_str(), "crate" | "super" | "clerk_gate")
            && (at == 0 || words[at - 1] != "::");
        let goes_on = words
            .get(at + 1)
            .is_some_and(|next| next == "::" || next == "as");
        if begins && goes_on {
            at = follow(&words, at, None, path, &mut found);
        } else {
            at += 1;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Follows a path, or a group of them, from `at`; `place` is where it stands already.
fn follow(
    words: &[String],
    mut at: usize,
    place: Option<Vec<String>>,
    own: &[&str],
    found: &mut Vec<String>,
) -> usize {
    let mut place = place;
    loop {
        match words.get(at).map(String::as_str) {
            Some("crate" | "clerk_gate") if place.is_none() => place = Some(Vec::new()),
            Some("super") => {
                let mut above = place
                    .take()
                    .unwrap_or_else(|| own.iter().map(|&name| name.to_owned()).collect());
                above.pop();
                place = Some(above);
            }
            Some("self") => {}
            Some("{") => {
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    at = follow(words, at, place.clone(), own, found);
                    while words.get(at).is_some_and(|word| word != "," && word != "}") {
                        at += 1;
                    }
                    at += usize::from(words.get(at).is_some_and(|word| word == ","));
                }
                return at + 1;
            }
            Some(name) => place.get_or_insert_default().push(name.to_owned()),
            None => return at,
        }
        at += 1;
        if words.get(at).is_some_and(|word| word == "::") {
            at += 1;
            continue;
        }
        let module = place.unwrap_or_default().into_iter().next();
        found.push(module.unwrap_or_else(|| "*".to_owned()));
        return at;
    }
}

/// Splits source text into names, `::` and single signs.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(sign) = rest.next() {
        if sign.is_alphanumeric() || sign == '_' {
            let mut name = String::from(sign);
            while let Some(more) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(more);
            }
            words.push(name);
        } else if sign == ':' && rest.next_if_eq(&':').is_some() {
            words.push("::".to_owned());
        } else if !sign.is_whitespace() {
            words.push(sign.to_string());
        }
    }
    words
}

/// Takes comments, strings and characters away.
fn without_prose(text: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    let (mut kept, mut at) = (String::with_capacity(text.len()), 0);
    let is = |at: usize, wanted: char| signs.get(at) == Some(&wanted);
    while let Some(&sign) = signs.get(at) {
        let in_name = at > 0 && (signs[at - 1].is_alphanumeric() || signs[at - 1] == '_');
        if sign == '/' && is(at + 1, '/') {
            while at < signs.len() && !is(at, '\n') {
                at += 1;
            }
        } else if sign == '/' && is(at + 1, '*') {
            let mut depth = 0;
            loop {
                if is(at, '/') && is(at + 1, '*') {
                    (depth, at) = (depth + 1, at + 2);
                } else if is(at, '*') && is(at + 1, '/') {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    at += 1;
                }
                if depth == 0 || at >= signs.len() {
                    break;
                }
            }
        } else if sign == 'r' && !in_name && (is(at + 1, '"') || is(at + 1, '#')) {
            let marks = signs[at + 1..].iter().take_while(|c| **c == '#').count();
            if is(at + 1 + marks, '"') {
                let end: Vec<char> = std::iter::once('"')
                    .chain(std::iter::repeat_n('#', marks))
                    .collect();
                at += 2 + marks;
                while at < signs.len() && !signs[at..].starts_with(&end) {
                    at += 1;
                }
                at += end.len();
            } else {
                at += 1;
            }
        } else if sign == '"' {
            at += 1;
            while at < signs.len() && !is(at, '"') {
                at += if is(at, '\\') { 2 } else { 1 };
            }
            at += 1;
        } else if sign == '\'' && (is(at + 1, '\\') || is(at + 2, '\'')) {
            at += 2;
            while at < signs.len() && !is(at, '\'') {
                at += 1;
            }
            at += 1;
        } else {
            kept.push(sign);
            at += 1;
            continue;
        }
        kept.push(' ');
    }
    kept
}

/// Takes every item away that is compiled for tests only.
fn without_tests(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        let mut depth = 0_usize;
        let end = rest[at..].char_indices().find(|(_, sign)| {
            match sign {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(sign, '}' | ';')
        });
        let Some((length, _)) = end else {
            return kept;
        };
        rest = &rest[at + length + 1..];
    }
    kept + rest
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file that is not a test, with the names that lead to its module.
fn modules() -> Vec<(Vec<String>, String)> {
    let (mut folders, mut found) = (vec![source()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs")
                && !path.ends_with("tests.rs")
                && !path.ends_with("src/lib.rs")
            {
                let mut names: Vec<String> = path
                    .strip_prefix(source())
                    .unwrap()
                    .with_extension("")
                    .iter()
                    .map(|name| name.to_str().unwrap().to_owned())
                    .collect();
                names.retain(|name| name != "mod");
                found.push((names, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn imports_point_down_only() {
    let modules = modules();
    assert!(modules.len() > 40, "only {} files", modules.len());
    let broken: Vec<String> = modules
        .iter()
        .flat_map(|(path, text)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            broken_rules(&path, text)
        })
        .map(|(from, to)| format!("`{from}` may not know `{to}`"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_module_has_a_place_in_the_house() {
    let homeless: Vec<String> = modules()
        .into_iter()
        .filter_map(|(path, _)| path.into_iter().next())
        .filter(|name| floor(name).is_none() && !is_wiring(name) && name != "standin")
        .collect();
    assert!(homeless.is_empty(), "{homeless:?}");
}

#[test]
fn the_core_waits_for_nothing_and_reaches_nothing() {
    let core: Vec<_> = modules()
        .into_iter()
        .filter(|(path, _)| path[0] == "core")
        .collect();
    assert!(core.len() > 20, "only {} files", core.len());
    for (path, text) in core {
        let words = words(&without_tests(&without_prose(&text)));
        for impure in [
            "async",
            "await",
            "tokio",
            "hyper",
            "hyper_util",
            "reqwest",
            "rustls",
            "tracing",
            "fs",
            "env",
            "SystemTime",
            "Instant",
            "TcpStream",
            "UdpSocket",
            "println",
            "eprintln",
        ] {
            assert!(
                !words.iter().any(|word| word == impure),
                "{path:?}: {impure}"
            );
        }
    }
}

#[test]
fn every_way_to_write_an_import_is_found() {
    let text = r##"
        //! [`crate::prose`] and "crate::prose"
        use crate::plain::X;
        pub(crate) use crate::{
            grouped::{self, a::B, c as d},
            second as other,
            third::*,
        };
        use super::sibling;
        use super::super::{above::Z, below};
        const TEXT: &str = "use crate::text;"; const RAW: &str = r#"crate::raw"#;
        /* crate::comment /* nested */ crate::comment */
        fn f<'a>(x: &'a str) -> crate::inline::T { '"'; let y = '\''; crate::called::g() }
        macro_rules! m { () => { $crate::in_macro::h() } }
        use clerk_gate::by_name::N;
        use crate as everything;
        #[cfg(test)]
        use crate::for_tests;
        #[cfg(test)]
        mod tests { use crate::in_tests::{a}; fn f() { crate::in_tests::g() } }
        use crate::after_tests;
    "##;
    assert_eq!(
        imports(&["gate", "flights"], text),
        [
            "*",
            "above",
            "after_tests",
            "below",
            "by_name",
            "called",
            "gate",
            "grouped",
            "in_macro",
            "inline",
            "plain",
            "second",
            "third",
        ]
    );
}

#[test]
fn a_forbidden_import_is_noticed() {
    for (path, text) in [
        (&["core", "decide"][..], "use crate::clock::Clock;"),
        (&["core", "facts"], "use super::super::telemetry::access;"),
        (&["core"], "use crate::{\n    tls,\n};"),
        (&["clerk", "jwks"], "use crate::gate::Gate;"),
        (&["clerk", "jwks"], "use crate::upstream::Upstream;"),
        (&["gate"], "fn f() { crate::pages::page() }"),
        (&["gate"], "use crate::config::Config;"),
        (
            &["modes", "proxy"],
            "use crate::{core::decide, config::Config};",
        ),
        (&["modes", "proxy"], "use crate::admin::Readiness;"),
        (&["admin"], "use crate::server::Bound;"),
        (&["server", "accept"], "use crate::cli::Cli;"),
        (&["server"], "use crate::standin::StandIn;"),
        (&["standin", "app"], "use crate::gate::Gate;"),
        (&["clock"], "use crate::gate::Gate;"),
        (&["pages"], "use crate::unheard_of::X;"),
        (&["gate"], "use crate as c;"),
    ] {
        assert_eq!(broken_rules(path, text).len(), 1, "{path:?}: {text}");
    }
    for (path, text) in [
        (&["main"][..], "use clerk_gate::cli;"),
        (
            &["cli", "dev"],
            "use crate::{server, config, standin::StandIn};",
        ),
        (
            &["server"],
            "use crate::{modes::proxy, admin, config, gate, tls};",
        ),
        (
            &["modes", "proxy"],
            "use crate::{pages, telemetry, upstream};",
        ),
        (
            &["upstream", "head"],
            "use crate::core::decide::Permit; use super::body;",
        ),
        (&["standin"], "use crate::core::key;"),
    ] {
        assert_eq!(broken_rules(path, text), [], "{path:?}: {text}");
    }
}
