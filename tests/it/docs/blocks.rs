//! What stands in the blocks of the documents: each is run or read by a test, or says that it cannot be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ROOT, documents, read};

/// A block of a document.
pub struct Block {
    /// The document, from the root of the project.
    pub document: String,
    pub language: String,
    /// Whether it needs something that is not here: a cluster, an account, somebody else's machine.
    pub external: bool,
    /// The number of the line after its fence.
    pub line: usize,
    pub text: String,
}

/// Every block of every document.
pub fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for path in documents() {
        let document = path.strip_prefix(ROOT).unwrap().display().to_string();
        let text = read(&path);
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let Some(said) = line.trim().strip_prefix("```") else {
                continue;
            };
            let (language, tag) = said.split_once(' ').unwrap_or((said, ""));
            assert!(
                ["", "external"].contains(&tag),
                "{document}:{}: `{tag}` is no tag of a block",
                at + 1
            );
            let body: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| line.trim() != "```")
                .collect();
            found.push(Block {
                document: document.clone(),
                language: language.to_owned(),
                external: tag == "external",
                line: at + 2,
                text: body.join("\n"),
            });
        }
    }
    assert!(found.len() >= 60, "{} blocks", found.len());
    found
}

/// Everything that cannot run here. A further one is a decision: write it down.
const EXTERNAL: [(&str, &str, usize); 19] = [
    ("docs/explanation/live-connections.md", "js", 1),
    ("docs/how-to/behind-caddy.md", "console", 1),
    ("docs/how-to/behind-envoy.md", "console", 2),
    ("docs/how-to/behind-haproxy.md", "console", 1),
    ("docs/how-to/behind-nginx.md", "console", 1),
    ("docs/how-to/behind-traefik.md", "console", 1),
    ("docs/how-to/in-front-of-grafana.md", "ini", 1),
    ("docs/how-to/in-front-of-spring.md", "java", 1),
    ("docs/how-to/in-front-of-spring.md", "properties", 1),
    ("docs/how-to/in-kubernetes.md", "console", 1),
    ("docs/how-to/migrate-from-clerk-middleware.md", "ts", 1),
    ("docs/how-to/scrape-metrics.md", "console", 1),
    ("docs/how-to/systemd.md", "console", 1),
    ("docs/how-to/upgrade.md", "console", 1),
    ("docs/how-to/verify-the-assertion.md", "go", 1),
    ("docs/how-to/verify-the-assertion.md", "php", 1),
    ("docs/how-to/verify-the-assertion.md", "ruby", 1),
    ("docs/how-to/why-was-it-refused.md", "console", 2),
    ("docs/how-to/with-compose.md", "console", 1),
];

#[test]
fn blocks_that_cannot_run_here_are_counted() {
    let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for block in blocks().into_iter().filter(|block| block.external) {
        *counted.entry((block.document, block.language)).or_default() += 1;
    }
    let counted: Vec<(&str, &str, usize)> = counted
        .iter()
        .map(|((document, language), count)| (document.as_str(), language.as_str(), *count))
        .collect();
    assert_eq!(counted, EXTERNAL);
}

/// Languages of programs and of their settings. Tests that run them take them out of the documents.
const RUN: [&str; 11] = [
    "bash",
    "go",
    "ini",
    "java",
    "js",
    "nginx",
    "php",
    "properties",
    "python",
    "ruby",
    "ts",
];

/// Held by tests of this folder, and by `tests/packaging/manifests.py`.
const READ: [&str; 4] = ["console", "json", "toml", "yaml"];

/// For people alone: drawings, and lines to copy into a page.
const SHOWN: [&str; 3] = ["html", "text", "tsx"];

#[test]
fn every_block_is_run_or_read_or_says_that_it_cannot_be() {
    let mut tests = String::new();
    for folder in ["tests/e2e", "tests/packaging"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                tests += &read(path);
            }
        }
    }
    let mut programs = 0;
    for block in blocks() {
        let Block {
            document,
            language,
            external,
            line,
            ..
        } = block;
        let at = format!("{document}:{line}: `{language}`");
        if RUN.contains(&language.as_str()) {
            let held = external || tests.contains(&format!("'{document}'"));
            assert!(
                held,
                "{at} is run by no test: have one, or tag it `external`"
            );
            programs += 1;
        } else {
            let known = READ.contains(&language.as_str()) || SHOWN.contains(&language.as_str());
            assert!(known, "{at} is held by nothing: say above how it is");
        }
    }
    assert!(programs >= 5, "{programs} programs");
}

#[test]
fn every_json_block_is_json() {
    let mut count = 0;
    for block in blocks() {
        if block.language == "json" {
            let read: Result<Value, _> = serde_json::from_str(&block.text);
            assert!(read.is_ok(), "{}:{}", block.document, block.line);
            count += 1;
        }
    }
    assert!(count >= 2, "{count} blocks");
}
