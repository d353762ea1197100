//! Names of headers that no client may send to an application, and how names are compared.

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

/// A name without everything but letters and digits, in lower case.
pub fn letters(name: &str) -> String {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}
