//! Which answers something is put into, and what their heads say then.

use bytes::Bytes;
use clerk_gate::rewrite::{Left, Outcome};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{Method, Response, StatusCode};

use crate::support::pages::{Rewritten, insertion, rewritten};

const PAGE: &[u8] = b"<html><head></head><body><p>x</p></body></html>";

/// The answer with this status and these lines.
fn head(status: u16, lines: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in lines {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap()
}

fn sent(method: &Method, status: u16, lines: &[(&str, &str)]) -> Rewritten {
    rewritten(head(status, lines), method, vec![Bytes::from_static(PAGE)])
}

const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

#[test]
fn pages_of_every_status_that_shows_one_are_taken() {
    for status in (200..600).filter(|status| StatusCode::from_u16(*status).is_ok()) {
        let found = sent(&Method::GET, status, &[HTML]);
        let expected = match status {
            204 | 205 | 300..=399 => Outcome::Left(Left::Status),
            206 => Outcome::Left(Left::Partial),
            _ => Outcome::Injected,
        };
        assert_eq!(found.outcome, Some(expected), "{status}");
    }
}

/// Heads of answers, and what becomes of the page.
const HEADS: &[(&[(&str, &str)], Outcome)] = &[
    (&[HTML], Outcome::Injected),
    (&[("content-type", "TEXT/HTML")], Outcome::Injected),
    (
        &[("content-type", "text/html;charset=\"UTF-8\"; a=b")],
        Outcome::Injected,
    ),
    (
        &[("content-type", "text/html ; Charset = latin1")],
        Outcome::Injected,
    ),
    (
        &[("content-type", "text/html; charset=utf-16")],
        Outcome::Left(Left::Charset),
    ),
    (
        &[("content-type", "text/html; charset=iso-2022-jp")],
        Outcome::Left(Left::Charset),
    ),
    (
        &[("content-type", "text/html; charset=utf-7")],
        Outcome::Left(Left::Charset),
    ),
    (
        &[("content-type", "text/html; charset=")],
        Outcome::Left(Left::Charset),
    ),
    (&[], Outcome::Left(Left::Type)),
    (
        &[("content-type", "application/xhtml+xml")],
        Outcome::Left(Left::Type),
    ),
    (&[("content-type", "text/html5")], Outcome::Left(Left::Type)),
    (
        &[("content-type", "text/plain; a=text/html")],
        Outcome::Left(Left::Type),
    ),
    (
        &[("content-type", "text/plain, text/html")],
        Outcome::Left(Left::Type),
    ),
    (
        &[HTML, ("content-type", "text/plain")],
        Outcome::Left(Left::Type),
    ),
    (&[HTML, ("content-encoding", "identity")], Outcome::Injected),
    (
        &[HTML, ("content-encoding", "gzip")],
        Outcome::Left(Left::Encoding),
    ),
    (
        &[HTML, ("content-encoding", "Identity, BR")],
        Outcome::Left(Left::Encoding),
    ),
    (
        &[
            HTML,
            ("content-encoding", "identity"),
            ("content-encoding", "zstd"),
        ],
        Outcome::Left(Left::Encoding),
    ),
    (
        &[HTML, ("content-range", "bytes 0-1/2")],
        Outcome::Left(Left::Partial),
    ),
    (
        &[HTML, ("content-disposition", "inline")],
        Outcome::Injected,
    ),
    (
        &[HTML, ("content-disposition", "Inline; filename=a.html")],
        Outcome::Injected,
    ),
    (
        &[HTML, ("content-disposition", "attachment")],
        Outcome::Left(Left::Attachment),
    ),
    (
        &[HTML, ("content-disposition", "ATTACHMENT; filename=a.html")],
        Outcome::Left(Left::Attachment),
    ),
    (
        &[HTML, ("content-disposition", "form-data")],
        Outcome::Left(Left::Attachment),
    ),
    (
        &[HTML, ("cache-control", "private, max-age=0")],
        Outcome::Injected,
    ),
    (
        &[HTML, ("cache-control", "public, No-Transform")],
        Outcome::Left(Left::NoTransform),
    ),
    (
        &[
            HTML,
            ("cache-control", "public"),
            ("cache-control", "no-transform"),
        ],
        Outcome::Left(Left::NoTransform),
    ),
    (
        &[HTML, ("content-security-policy", "frame-ancestors 'self'")],
        Outcome::Injected,
    ),
    (
        &[
            HTML,
            ("content-security-policy-report-only", "default-src 'none'"),
        ],
        Outcome::Injected,
    ),
    (
        &[HTML, ("content-security-policy", "default-src 'self'")],
        Outcome::Left(Left::CspScript),
    ),
    (
        &[
            HTML,
            ("content-security-policy", "img-src *, connect-src 'self'"),
        ],
        Outcome::Left(Left::CspConnection),
    ),
    (
        &[
            HTML,
            ("content-security-policy", "img-src *"),
            ("content-security-policy", "worker-src 'none'"),
        ],
        Outcome::Left(Left::CspWorker),
    ),
    (
        &[HTML, ("content-security-policy", "sandbox allow-scripts")],
        Outcome::Left(Left::CspSandbox),
    ),
    (
        &[
            HTML,
            (
                "content-security-policy",
                "require-trusted-types-for 'script'",
            ),
        ],
        Outcome::Left(Left::CspTrustedTypes),
    ),
];

#[test]
fn only_a_page_in_plain_text_that_may_be_changed_is_taken() {
    assert!(HEADS.len() >= 30, "{}", HEADS.len());
    for (lines, expected) in HEADS {
        let found = sent(&Method::GET, 200, lines);
        assert_eq!(found.outcome, Some(*expected), "{lines:?}");
        if *expected != Outcome::Injected {
            assert_eq!(found.bytes(), PAGE, "{lines:?}");
            let whole = head(200, lines);
            assert_eq!(
                found.headers,
                *whole.headers(),
                "{lines:?}: the head is as it was"
            );
        }
    }
}

/// What is said of the bytes of a page.
const OF_THE_BYTES: [(&str, &str); 8] = [
    ("content-length", "47"),
    ("etag", "\"a\""),
    ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("accept-ranges", "bytes"),
    ("content-md5", "x"),
    ("digest", "x"),
    ("repr-digest", "x"),
    ("content-digest", "x"),
];

#[test]
fn a_page_that_was_changed_says_nothing_about_its_bytes() {
    let lines = [
        &[HTML, ("vary", "cookie"), ("x-own", "1")],
        &OF_THE_BYTES[..],
    ]
    .concat();
    let found = sent(&Method::GET, 200, &lines);
    assert_eq!(found.outcome, Some(Outcome::Injected));
    for (name, _) in OF_THE_BYTES {
        assert!(!found.headers.contains_key(name), "{name}");
    }
    assert_eq!(found.headers["x-own"], "1");
    let vary: Vec<_> = found.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["cookie", "sec-fetch-dest"]);
}

#[test]
fn the_answer_to_a_head_has_the_head_of_the_answer_to_a_get() {
    let lines = [&[HTML], &OF_THE_BYTES[..]].concat();
    let get = sent(&Method::GET, 200, &lines);
    let asked = rewritten(head(200, &lines), &Method::HEAD, Vec::new());
    assert_eq!(get.headers, asked.headers);
    assert_eq!(asked.outcome, None, "no page was sent");

    let left = rewritten(head(200, &OF_THE_BYTES), &Method::HEAD, Vec::new());
    for name in [CONTENT_LENGTH, ETAG, LAST_MODIFIED, ACCEPT_RANGES] {
        assert!(left.headers.contains_key(&name), "{name}");
    }
    assert_eq!(left.outcome, None, "no page was left alone");
}

#[test]
fn what_is_put_in_is_ascii_and_two_scripts_without_a_line_of_code() {
    let insertion = insertion();
    let markup = insertion.markup();
    assert!(markup.is_ascii());
    assert_eq!(markup.matches("<script defer ").count(), 2);
    assert_eq!(markup.matches("></script>").count(), 2);
    assert_eq!(markup.matches('<').count(), 4);
}
