//! What a `Debug` may show of values that carry credentials: enough to follow what happened, and
//! nothing that somebody could use.

use std::fmt::{self, Debug};

use http::HeaderMap;

/// An address without query and fragment: handshakes and dev browsers carry tokens there.
pub(super) struct Address<'a>(pub(super) &'a str);

/// Set-Cookie lines by the names of their cookies.
pub(super) struct CookieLines<'a>(pub(super) &'a [String]);

/// Headers by their names.
pub(super) struct HeaderNames<'a>(pub(super) &'a HeaderMap);

impl Address<'_> {
    /// The text that is shown.
    pub(super) fn text(&self) -> String {
        match self.0.split_once(['?', '#']) {
            Some((bare, _)) => format!("{bare}?…"),
            None => self.0.to_owned(),
        }
    }
}

impl Debug for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.text(), f)
    }
}

impl Debug for CookieLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |line: &String| {
            let pair = line.split(['=', ';']).next().unwrap_or_default();
            format!("{}=…", pair.trim())
        };
        f.debug_list().entries(self.0.iter().map(name)).finish()
    }
}

impl Debug for HeaderNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_values_are_not() {
        let lines = ["__session=secret; Path=/".to_owned(), "odd".to_owned()];
        assert_eq!(
            format!("{:?}", CookieLines(&lines)),
            r#"["__session=…", "odd=…"]"#
        );
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=secret".parse().unwrap());
        assert_eq!(format!("{:?}", HeaderNames(&headers)), r#"["cookie"]"#);
        for (address, shown) in [
            ("https://a.example/x", r#""https://a.example/x""#),
            (
                "https://a.example/x?t=secret#y",
                r#""https://a.example/x?…""#,
            ),
            ("/x#secret", r#""/x?…""#),
        ] {
            assert_eq!(format!("{:?}", Address(address)), shown);
        }
    }
}
