//! Where in a page something is put, and which pages are left alone.

use bytes::Bytes;
use clerk_gate::rewrite::{Left, Outcome};
use http::Method;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

use crate::support::pages::{Rewritten, html, in_pieces, insertion, nothing_is_lost, rewritten};

/// The most that is held back of a page.
const MOST_HELD: usize = 256 * 1024;

fn page(bytes: &[u8], size: usize) -> Rewritten {
    rewritten(
        html("text/html; charset=utf-8"),
        &Method::GET,
        in_pieces(bytes, size),
    )
}

/// Asserts that a page with `§` in it gets the insertion there and nowhere else, however it arrives.
#[track_caller]
fn assert_put_where_marked(marked: &str) {
    let (before, after) = marked.split_once('§').unwrap();
    let bytes = format!("{before}{after}");
    let expected = format!("{before}{}{after}", insertion().markup());
    for size in [1, 2, 3, 7, bytes.len()] {
        let found = page(bytes.as_bytes(), size);
        let shown = String::from_utf8_lossy(&found.bytes()).into_owned();
        assert_eq!(shown, expected, "{marked}, in pieces of {size}");
        assert_eq!(found.outcome, Some(Outcome::Injected), "{marked}");
    }
}

/// Asserts that a page goes on as it is, however it arrives.
#[track_caller]
fn assert_left(bytes: &[u8], left: Left) {
    for size in [1, 2, 3, 7, bytes.len().max(1)] {
        let found = page(bytes, size);
        let shown = String::from_utf8_lossy(bytes);
        assert!(found.bytes() == bytes, "{shown}, in pieces of {size}");
        assert_eq!(found.outcome, Some(Outcome::Left(left)), "{shown}");
    }
}

#[test]
fn the_scripts_are_the_last_of_the_head() {
    for marked in [
        "<!doctype html><html><head><title>A</title>§</head><body><p>x</body></html>",
        "<!DOCTYPE html>\r\n<HTML lang=en>\r\n<HEAD>\r\n<META CHARSET=\"utf-8\">§</HEAD>\r\n<BODY>x",
        "<head>§</head>",
        "<head><link rel=icon href='data:,'><style>p::before{content:'</head>'}</style>§</head >x",
        "<head><script>if (a < b) document.write('</head><body>')</script>§</head><body>",
        "<head><script><!-- <script></script></head> --></script>§</head><body>",
        "<head><!-- </head><body> -->§</head><body>",
        "<!-- <html><head></head> --><html><head><base href=//elsewhere.example/>§</head>",
        "<head><title></head><body></title>§</head>",
        "<head><noscript><link rel=stylesheet href=x></noscript>§</head>",
        "<head><meta name=a content='</head>'>§</head>",
        "<head><meta name=a content=\"<body>\" / >§</head>",
        "<head data-x='>'>§</head>",
        "<head><template><body><div></div></body></template>§</head><p>",
        "<head><template><template><p></template><p></template>§</head><p>",
        "<![if IE]><head>§</head><![endif]>",
        "\u{feff}<!doctype html><head>§</head>",
        "<head><meta http-equiv=refresh content=1>§</head>",
        "<head><meta http-equiv=content-security-policy-report-only content=\"default-src 'none'\">§</head>",
        "<head><meta http-equiv=Content-Security-Policy content=\"default-src https: blob:; style-src 'unsafe-inline'\">§</head>",
        "<head><template><meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"></template>§</head>",
        "<head><script src=/app.js></script>§</head>",
        "<head><meta charset=windows-1252><meta charset=x-nobody-knows>§</head>",
        "<head><meta charset=utf-16>§</head>",
    ] {
        assert_put_where_marked(marked);
    }
}

#[test]
fn a_head_without_an_end_ends_with_the_first_tag_that_cannot_be_in_it() {
    for marked in [
        "<html>§<body>x</body></html>",
        "<!doctype html><title>A</title>§<p>Hello",
        "<!doctype html>§<h1>Hello</h1>",
        "<html><head><title>A</title>§<body>x",
        "<head><meta charset=utf-8>§<main></main>",
        "§<div>",
        "Hello §<b>you</b>",
        "<html><head>§<frameset><frame src=a></frameset></html>",
        "</head>§<body>",
        "<title>A</title></head>§<body>",
        "</p></div></unknown>§<p>",
        "<script>var page = '<body>'</script>§<p>",
        "<link rel=a>§<my-head></my-head>",
        "<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\">§<body/>",
        "<head/>§<p>",
        "<style/></style>§<p>",
        "<template></template>§<p>",
        "<template><p></template>§<p>",
        "§<a <b>x",
        "§<svg><head></head></svg>",
    ] {
        assert_put_where_marked(marked);
    }
}

#[test]
fn a_page_without_a_place_goes_on_as_it_is() {
    for page in [
        &b""[..],
        b"x",
        b"Hello, world",
        b"<",
        b"<!",
        b"</",
        b"<!doctype html>",
        b"<!doctype html><title>A</title>Hello",
        b"<html><head><title>A</title>",
        b"<html><head><title>A",
        b"<head><script>var a = '",
        b"<head><style>",
        b"<!-- <p> ",
        b"<p",
        b"<p class=\"",
        b"<template><p></p>",
        b"<head><template><div></head></div></template></head><p>",
        b"</body></html>",
        b"<plaintex",
        b"\xff",
        b"\0\0\0",
        b"<title>\xc3",
        b"%PDF-1.7 < not html",
    ] {
        assert_left(page, Left::NoPlace);
    }
}

#[test]
fn a_page_that_would_have_to_loosen_its_policy_is_left_alone() {
    let with = |policy: &str| {
        format!(
            "<!doctype html><head><title>A</title><meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"></head><body><p>x"
        )
    };
    for (policy, left) in [
        ("default-src 'none'", Left::CspScript),
        (
            "script-src 'self' 'nonce-abc'; worker-src blob:",
            Left::CspScript,
        ),
        (
            "script-src 'nonce-abc' 'strict-dynamic' https:",
            Left::CspScript,
        ),
        ("connect-src 'self'", Left::CspConnection),
        ("worker-src 'self'", Left::CspWorker),
        ("require-trusted-types-for 'script'", Left::CspTrustedTypes),
        ("script-src &#42;", Left::CspUnreadable),
        ("default-src 'sëlf'", Left::CspUnreadable),
    ] {
        assert_left(with(policy).as_bytes(), left);
    }
    // In front of a head that has no tag, and of the second of two.
    let before = "<meta HTTP-EQUIV=content-security-policy content=\"script-src 'self'\"><p>x";
    assert_left(before.as_bytes(), Left::CspScript);
    let second = "<head><meta http-equiv=content-security-policy content=\"img-src 'none'\">\
                  <meta http-equiv=content-security-policy content=\"script-src 'none'\"></head>";
    assert_left(second.as_bytes(), Left::CspScript);
}

#[test]
fn a_page_that_loads_clerk_js_itself_is_left_alone() {
    for script in [
        "<script async crossorigin=anonymous data-clerk-publishable-key=pk_test_x src=/c.js>",
        "<script src=\"https://clerk.example.com/npm/@clerk/clerk-js@6/dist/clerk.browser.js\">",
        "<script defer src=/vendor/clerk.browser.js>",
    ] {
        let page = format!("<head>{script}</script></head><body><p>x");
        assert_left(page.as_bytes(), Left::OwnScript);
    }
}

#[test]
fn a_page_whose_characters_are_not_ascii_is_left_alone() {
    let wide = |bytes: [u8; 2], order: fn(u16) -> [u8; 2]| {
        let text = "<html><head></head><body>".encode_utf16();
        bytes
            .into_iter()
            .chain(text.flat_map(order))
            .collect::<Vec<u8>>()
    };
    for page in [
        wide([0xff, 0xfe], u16::to_le_bytes),
        wide([0xfe, 0xff], u16::to_be_bytes),
        b"\xff\xfe".to_vec(),
        b"<head><meta charset=iso-2022-jp></head><p>".to_vec(),
        b"<head><meta charset=' ISO-2022-JP '></head><p>".to_vec(),
        b"<head><meta http-equiv=Content-Type content='text/html; charset=iso-2022-jp'></head>"
            .to_vec(),
        b"<meta charset=hz-gb-2312><p>".to_vec(),
    ] {
        assert_left(&page, Left::Charset);
    }
}

#[test]
fn characters_of_any_encoding_with_ascii_in_it_come_through() {
    for charset in [
        "utf-8",
        "windows-1252",
        "shift_jis",
        "gb18030",
        "big5",
        "euc-kr",
        "koi8-r",
    ] {
        let head = html(&format!("text/html;charset={charset}"));
        let mut page = b"<html><head><title>".to_vec();
        page.extend((0x80..=0xff).chain(b'A'..=b'Z'));
        page.extend_from_slice(b"</title>");
        let before = page.clone();
        page.extend_from_slice(b"</head><p>\x81\x5c\x95\x5c");
        let found = rewritten(head, &Method::GET, in_pieces(&page, 5));
        let expected = [
            &before,
            insertion().markup().as_bytes(),
            &page[before.len()..],
        ]
        .concat();
        assert!(found.bytes() == expected, "{charset}");
        assert_eq!(found.outcome, Some(Outcome::Injected), "{charset}");
    }
}

#[test]
fn what_is_too_long_to_be_held_goes_on_as_it_is() {
    let long = |before: &str, filling: &str, after: &str| {
        let mut page = before.as_bytes().to_vec();
        while page.len() < 3 * MOST_HELD {
            page.extend_from_slice(filling.as_bytes());
        }
        page.extend_from_slice(after.as_bytes());
        page
    };
    for bytes in [
        long("<head><meta content=\"", "x", "\"></head><p>"),
        long("<head><link ", "a=b ", "></head><p>"),
        long("<head><link ", "a ", ""),
        long("<head><", "x", ""),
        long("<head><link href='", "</head><p>", ""),
        long("", "<template>", "<p>"),
    ] {
        for size in [16 * 1024, 64 * 1024 - 1, bytes.len()] {
            let found = page(&bytes, size);
            assert!(found.bytes() == bytes, "{:?}", &bytes[..30]);
            assert_eq!(
                found.outcome,
                Some(Outcome::Left(Left::TooLong)),
                "{:?}",
                &bytes[..30]
            );
        }
    }
    // However small the pieces: what is held is looked at again with each of them.
    let bytes = format!("<head><link href=\"{}\"></head><p>", "x".repeat(20_000));
    let found = page(bytes.as_bytes(), 1);
    assert!(found.bytes() == bytes.as_bytes());
    assert_eq!(found.outcome, Some(Outcome::Left(Left::TooLong)));
    let found = page(bytes.as_bytes(), bytes.len());
    assert_eq!(found.outcome, Some(Outcome::Injected));
    // What has no need to be held may be as long as it likes.
    for (before, filling, after) in [
        ("<head><!--", "x", "--></head><p>"),
        ("<head><script>", "var a;", "</script></head><p>"),
        ("<head><title>", "x", "</title></head><p>"),
        ("<head>", "<link rel=a>", "</head><p>"),
        ("", "x ", "<p>"),
    ] {
        let bytes = long(before, filling, after);
        let found = page(&bytes, 16 * 1024);
        assert_eq!(found.outcome, Some(Outcome::Injected), "{before}{filling}");
        assert_eq!(
            found.bytes().len(),
            bytes.len() + insertion().markup().len()
        );
    }
}

#[test]
fn what_comes_behind_the_place_is_passed_on_piece_by_piece_and_not_copied() {
    let head = Bytes::from_static(b"<head></head>");
    let rest = Bytes::from(vec![b'<'; 64 * 1024]);
    let found = rewritten(
        html("text/html"),
        &Method::GET,
        vec![head, rest.clone(), rest.clone()],
    );
    let pieces = &found.pieces;
    assert_eq!(pieces.len(), 3);
    assert!(
        pieces[1..]
            .iter()
            .all(|piece| piece.as_ptr() == rest.as_ptr())
    );
}

/// Pieces of pages, and what is none.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "<html>",
        "<head>",
        "</head>",
        "<body>",
        "</body>",
        "<title>",
        "</title>",
        "<meta charset=utf-8>",
        "<meta http-equiv=content-security-policy content=\"script-src 'none'\">",
        "<script>",
        "</script>",
        "<style>",
        "</style>",
        "<template>",
        "</template>",
        "<noscript>",
        "</noscript>",
        "<!--",
        "-->",
        "<!",
        "<!doctype html>",
        "<p>",
        "</p>",
        "<p class=\"a",
        "\"",
        "'",
        ">",
        "<",
        "</",
        "/>",
        "=",
        " ",
        "<svg>",
        "</svg>",
        "<math>",
        "<![CDATA[",
        "]]>",
        "<select>",
        "<textarea>",
        "<plaintext>",
        "<xmp>",
        "<iframe>",
        "<head/>",
        "<HEAD a=b>",
        "\0",
        "\u{feff}",
        "é",
        "text",
        "<?",
        "?>",
        "<frameset>",
        "<noframes>",
    ]);
    let piece = prop_oneof![
        6 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn a_page_without_what_was_put_into_it_is_the_page(
        bytes in soup(),
        cuts in proptest::collection::vec(1_usize..40, 0..20),
    ) {
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(Bytes::copy_from_slice(piece));
            rest = after;
        }
        pieces.push(Bytes::copy_from_slice(rest));
        nothing_is_lost(&bytes, pieces).map_err(TestCaseError::fail)?;
    }
}
