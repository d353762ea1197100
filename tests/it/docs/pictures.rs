//! The pictures of the gate's pages: each page in each view, and what it was when they were taken. Whether it still is,
//! `tests/e2e/people.test.mjs` tells, in a browser.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ROOT, read};

#[test]
fn every_page_is_pictured_in_every_view_and_nothing_else_is() {
    let pages: Value = serde_json::from_str(&read("docs/images/likenesses.json")).unwrap();
    let pages = pages.as_object().unwrap();
    assert_eq!(pages.len(), 11);
    for (page, digest) in pages {
        assert_eq!(digest.as_str().map(str::len), Some(64), "{page}");
    }
    let expected: BTreeSet<String> = pages
        .keys()
        .flat_map(|page| ["dark", "light", "phone"].map(|view| format!("{page}-{view}.png")))
        .collect();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(Path::new(ROOT).join("docs/images")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "png") {
            let picture = fs::read(&path).unwrap();
            assert!(picture.starts_with(b"\x89PNG"), "{}", path.display());
            found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    assert_eq!(found, expected);
}
