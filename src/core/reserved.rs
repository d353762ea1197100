//! Headers that no client may send to an application, however their names are spelled.

use http::HeaderName;

/// Headers that a client may not send to the upstream, in letters and digits only: upstreams that
/// write headers into variables read `X_Forwarded_For` as `X-Forwarded-For`.
pub const RESERVED: [&str; 25] = [
    "xforwardedfor",
    "xforwardedhost",
    "xforwardedproto",
    "xforwardedport",
    "xforwardedprefix",
    "xforwardedserver",
    "xforwardedscheme",
    "xforwardedssl",
    "xforwardeduri",
    "xforwardedmethod",
    "forwarded",
    "xrealip",
    "xclientip",
    "xclusterclientip",
    "trueclientip",
    "cfconnectingip",
    "xoriginalurl",
    "xoriginaluri",
    "xrewriteurl",
    "xoriginalhost",
    "xhttphostoverride",
    "xhost",
    "clerksecretkey",
    "clerkproxyurl",
    "xrequestid",
];

/// The same, by how they begin.
pub const RESERVED_PREFIXES: [&str; 4] =
    [CLERKS_OWN, "xmiddleware", "xhttpmethod", "xmethodoverride"];

/// How headers begin that Clerk's SDKs send to each other, and to the Frontend API.
pub const CLERKS_OWN: &str = "xclerk";

/// The names that are reserved where a gate sets these headers: all of them, and those above.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// What the gate sets.
    ours: Vec<HeaderName>,
    /// These and [`RESERVED`], in letters and digits only, sorted.
    listed: Vec<String>,
    /// What these and the prefixes begin with: most names need no further look.
    initials: Vec<u8>,
}

impl Reserved {
    /// Those of a gate that sets these.
    pub fn of<'n>(ours: impl Iterator<Item = &'n HeaderName>) -> Self {
        let ours: Vec<HeaderName> = ours.cloned().collect();
        let spelled = ours.iter().map(|name| letters(name.as_str()));
        let mut listed: Vec<String> = RESERVED
            .iter()
            .map(|name| (*name).to_owned())
            .chain(spelled)
            .collect();
        listed.sort_unstable();
        let names = listed.iter().map(String::as_str);
        let mut initials: Vec<u8> = names
            .chain(RESERVED_PREFIXES)
            .filter_map(|name| name.bytes().next())
            .collect();
        initials.sort_unstable();
        initials.dedup();
        Self {
            ours,
            listed,
            initials,
        }
    }

    /// Whether no client may send a header of this name, or of one that is read like it.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let first = name.as_str().bytes().find(u8::is_ascii_alphanumeric);
        if !first.is_some_and(|first| self.initials.contains(&first)) {
            return false;
        }
        with_letters(name.as_str(), |letters| {
            self.lists(letters) || begins_reserved(letters, |_| true)
        })
    }

    /// The same, but for what Clerk's SDKs send.
    pub fn contains_but_clerks(&self, name: &HeaderName) -> bool {
        with_letters(name.as_str(), |letters| {
            self.lists(letters) || begins_reserved(letters, |prefix| prefix != CLERKS_OWN)
        })
    }

    /// Whether the gate sets a header of this very name.
    pub fn is_ours(&self, name: &HeaderName) -> bool {
        self.ours.contains(name)
    }

    /// Whether a name is read like that of a header that the gate sets.
    pub fn is_like_ours(&self, name: &HeaderName) -> bool {
        self.ours.iter().any(|ours| is_read_like(name, ours))
    }

    fn lists(&self, letters: &str) -> bool {
        let known = |name: &String| name.as_str().cmp(letters);
        self.listed.binary_search_by(known).is_ok()
    }
}

/// Whether two names are one where letters and digits alone count.
pub fn is_read_like<'n>(one: &'n HeaderName, other: &'n HeaderName) -> bool {
    // Names are in lower case.
    let plain = |name: &'n HeaderName| name.as_str().bytes().filter(u8::is_ascii_alphanumeric);
    plain(one).eq(plain(other))
}

/// Whether a name, in letters and digits only, begins like a reserved one that counts.
fn begins_reserved(letters: &str, counts: impl Fn(&str) -> bool) -> bool {
    RESERVED_PREFIXES
        .iter()
        .any(|prefix| counts(prefix) && letters.starts_with(prefix))
}

/// Whether a name begins like one that is reserved by its beginning.
pub fn is_reserved_by_beginning(name: &HeaderName) -> bool {
    with_letters(name.as_str(), |letters| begins_reserved(letters, |_| true))
}

/// Looks at the letters and digits of a name, without a copy on the heap for any usual name.
pub fn with_letters<T>(name: &str, look: impl FnOnce(&str) -> T) -> T {
    let mut buffer = [0_u8; 64];
    if name.len() > buffer.len() {
        return look(&letters(name));
    }
    let plain = name.bytes().filter(u8::is_ascii_alphanumeric);
    let mut length = 0;
    for (place, byte) in buffer.iter_mut().zip(plain) {
        *place = byte.to_ascii_lowercase();
        length += 1;
    }
    let letters = buffer.get(..length).unwrap_or_default();
    look(std::str::from_utf8(letters).unwrap_or_default())
}

/// A name without everything but letters and digits, in lower case.
fn letters(name: &str) -> String {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_reserved_name_passes() {
        let ours = [
            HeaderName::from_static("x-user-id"),
            HeaderName::from_static("x-org-role"),
        ];
        let reserved = Reserved::of(ours.iter());
        for name in [
            "x-user-id",
            "x_user_id",
            "x.user.id",
            "x-user_id",
            "xuserid",
            "x-org-role",
            "x-clerk-auth-status",
            "x_clerk_anything",
            "clerk-secret-key",
            "x-original-url",
            "x_rewrite_url",
            "x-original-host",
            "x-http-host-override",
            "x-host",
            "x-middleware-subrequest",
            "x-http-method-override",
            "x-forwarded-uri",
            "forwarded",
            "x-real-ip",
        ] {
            assert!(
                reserved.contains(&HeaderName::try_from(name).unwrap()),
                "{name}"
            );
        }
        for name in ["x-user-agent", "accept", "x-csrf-token", "x-api-key"] {
            assert!(
                !reserved.contains(&HeaderName::try_from(name).unwrap()),
                "{name}"
            );
        }
    }

    #[test]
    fn names_are_read_alike_where_letters_and_digits_are() {
        let name = |text: &str| HeaderName::try_from(text).unwrap();
        for (one, other, alike) in [
            ("x-user-id", "x_user.id", true),
            ("x-user-id", "xuserid", true),
            ("x-user-id", "x-user-ids", false),
            ("x-user-id", "x-user-i", false),
        ] {
            assert_eq!(
                is_read_like(&name(one), &name(other)),
                alike,
                "{one} {other}"
            );
            let reserved = Reserved::of([name(one)].iter());
            assert_eq!(reserved.is_like_ours(&name(other)), alike, "{one} {other}");
            assert!(!reserved.is_ours(&name(other)) && reserved.is_ours(&name(one)));
        }
    }
}
