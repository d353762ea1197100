//! Whoever comes from another gate is told what to write here: each of these things is one that can be written.

use std::fmt::Write as _;

use super::{load, read};

/// The documents, each with how many rows have something to write.
const GUIDES: [(&str, usize); 4] = [
    ("docs/how-to/migrate-from-clerk-middleware.md", 41),
    ("docs/how-to/migrate-from-nginx-auth-request.md", 5),
    ("docs/how-to/migrate-from-oauth2-proxy.md", 29),
    ("docs/how-to/migrate-from-pomerium.md", 30),
];

/// What stands at the top of a configuration, and not in a route.
const AT_THE_TOP: [&str; 4] = ["listen", "public-url", "trusted-proxies", "debug-headers"];

/// What a configuration has to say in any case.
const NEEDED: [(&str, &str); 5] = [
    ("", "public-url = \"https://app.example.com\""),
    (
        "clerk",
        "publishable-key = \"pk_live_Y2xlcmsuZXhhbXBsZS5jb20k\"",
    ),
    ("clerk", "secret-key-file = \"/run/secrets/clerk\""),
    ("upstream", "url = \"http://127.0.0.1:3000\""),
    ("[route]", "path = \"/x/**\""),
];

/// The second cells of the tables of a document, with the number of their line.
fn cells(document: &str) -> Vec<(usize, String)> {
    let text = read(document);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .enumerate()
        .filter(|(at, line)| {
            let head = lines
                .get(at + 1)
                .is_some_and(|next| next.starts_with("|---"));
            line.starts_with("| ") && !head
        })
        .filter_map(|(at, line)| Some((at + 1, line.split(" | ").nth(1)?.to_owned())))
        .collect()
}

/// The settings in a cell: each with its table, and as it is written there.
fn settings(cell: &str) -> Vec<(String, String)> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| span.contains(" = "))
        .map(|span| match span.strip_prefix('[') {
            Some(rest) => {
                let (table, setting) = rest.split_once("] ").unwrap();
                (table.to_owned(), setting.to_owned())
            }
            None if AT_THE_TOP.contains(&key(span)) => (String::new(), span.to_owned()),
            None => ("[route]".to_owned(), span.to_owned()),
        })
        .collect()
}

fn key(setting: &str) -> &str {
    setting.split(' ').next().unwrap()
}

/// A whole configuration with these settings.
fn configuration(mut settings: Vec<(String, String)>) -> String {
    let has = |settings: &[(String, String)], table: &str, wanted: &str| {
        settings
            .iter()
            .any(|(own, setting)| own == table && key(setting) == wanted)
    };
    for (table, needed) in NEEDED {
        if !has(&settings, table, key(needed)) {
            settings.push((table.to_owned(), needed.to_owned()));
        }
    }
    if !has(&settings, "[route]", "require") {
        settings.push(("[route]".to_owned(), "require = \"signed-in\"".to_owned()));
    }
    if has(&settings, "store.redis", "sentinels") {
        settings.push(("store.redis".to_owned(), "master = \"mymaster\"".to_owned()));
    }
    if has(&settings, "upstream", "assertion-audience") {
        let key = "key-file = \"/run/secrets/assertion.pem\"";
        settings.push(("assertion".to_owned(), key.to_owned()));
    }
    if has(&settings, "[route]", "template") {
        settings.push(("[template]".to_owned(), "name = \"supabase\"".to_owned()));
    }
    let mut tables: Vec<&str> = settings.iter().map(|(table, _)| table.as_str()).collect();
    tables.sort_unstable();
    tables.dedup();
    // Pages that people are sent to are open.
    let pages = "[[route]]\npath = [\"/welcome\", \"/upgrade\", \"/sorry\", \"/sign-in/**\"]\nrequire = \"public\"\n";
    let mut text = String::new();
    for table in tables {
        match table {
            "" => {}
            "[route]" => write!(text, "{pages}\n[[route]]\n").unwrap(),
            _ => writeln!(text, "\n[{table}]").unwrap(),
        }
        for (_, setting) in settings.iter().filter(|(own, _)| own == table) {
            writeln!(text, "{setting}").unwrap();
        }
    }
    text
}

#[test]
fn everything_that_migrants_are_told_to_write_can_be_written() {
    for (document, expected) in GUIDES {
        let mut count = 0;
        for (line, cell) in cells(document) {
            let settings = settings(&cell);
            if settings.is_empty() {
                continue;
            }
            let text = configuration(settings);
            if let Err(report) = load(document, &text) {
                panic!("{document}:{line}:\n{text}\n{report}");
            }
            count += 1;
        }
        assert_eq!(count, expected, "{document}");
    }
}

#[test]
fn a_row_that_cannot_be_written_would_be_noticed() {
    for cell in [
        "`requires = \"public\"`",
        "`[clerk] party = \"x\"`",
        "`path = \"/x(.*)\"`",
    ] {
        assert!(
            load("a row", &configuration(settings(cell))).is_err(),
            "{cell}"
        );
    }
    assert!(load("a row", &configuration(Vec::new())).is_ok());
}
