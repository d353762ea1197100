//! The head of an answer: whether it is a page that something may be put into, and what a page that
//! is changed may not say of itself any more.

use encoding_rs::Encoding;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lol_html::AsciiCompatibleEncoding;

use super::Left;
use crate::core::csp::{self, Delivery, Needs};

/// What is said of the very bytes of a body, or lets parts of it be asked for.
const OF_THE_BYTES: [HeaderName; 8] = [
    CONTENT_LENGTH,
    ETAG,
    // Without it nobody asks whether a page that was changed has changed.
    LAST_MODIFIED,
    ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// The encoding of a page that takes an insertion with these needs, as far as its head tells.
pub(super) fn encoding(
    status: StatusCode,
    headers: &HeaderMap,
    needs: &Needs,
) -> Result<AsciiCompatibleEncoding, Left> {
    if !comes_with_a_page(status) {
        return Err(Left::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE) {
        return Err(Left::Partial);
    }
    let encoding = charset(headers)?;
    if items(headers, &CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Left::Encoding);
    }
    if is_attachment(headers) {
        return Err(Left::Attachment);
    }
    if items(headers, &CACHE_CONTROL).any(|item| item.eq_ignore_ascii_case("no-transform")) {
        return Err(Left::NoTransform);
    }
    for policy in headers.get_all(CONTENT_SECURITY_POLICY) {
        csp::judge(policy.as_bytes(), Delivery::Header, needs)?;
    }
    Ok(encoding)
}

/// Takes from the head or the trailers of a page what will not be true of it any more.
pub(super) fn drop_what_was_true(headers: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
}

/// Makes the head of a page ready for what is put into it.
pub(super) fn make_ready(headers: &mut HeaderMap) {
    drop_what_was_true(headers);
    // A program that asks for the same address gets the page as it is.
    if !items(headers, &VARY).any(|item| item == "*") {
        headers.append(VARY, HeaderValue::from_static("sec-fetch-dest"));
    }
}

/// Pages of errors are pages. What leads elsewhere, or has no body, is none.
fn comes_with_a_page(status: StatusCode) -> bool {
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::RESET_CONTENT;
    (status.is_success() || status.is_client_error() || status.is_server_error()) && !bodiless
}

/// The encoding of the characters. A page that does not say is taken for one in UTF-8: all that is
/// read of it and put into it is ASCII.
fn charset(headers: &HeaderMap) -> Result<AsciiCompatibleEncoding, Left> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(Left::Type);
    };
    let text = line.to_str().map_err(|_| Left::Type)?;
    let mut parts = text.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
    {
        return Err(Left::Type);
    }
    let label = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    });
    match label {
        None => Ok(AsciiCompatibleEncoding::utf_8()),
        Some(label) => ascii_compatible(label.as_bytes()).ok_or(Left::Charset),
    }
}

/// An encoding that has ASCII in it as it is.
pub(super) fn ascii_compatible(label: &[u8]) -> Option<AsciiCompatibleEncoding> {
    Encoding::for_label_no_replacement(label).and_then(AsciiCompatibleEncoding::new)
}

// SECURITY: what cannot be read is taken for what is saved: it is not touched.
fn is_attachment(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_DISPOSITION).iter().any(|line| {
        let kind = line.to_str().ok().and_then(|text| text.split(';').next());
        !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("inline"))
    })
}

/// The items of a header that is a list; what is no text is an item that fits nothing.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}
