//! Servers that read a path leniently, each as a small pure function.
//!
//! A reader takes the path of a request line as bytes and gives every path that such a server may
//! route by. They share no code with the gate: what it takes for a reading is judged by them.

mod servers;
mod steps;

/// One way in which a server reads a path.
pub struct Reader {
    /// The server, or what it does.
    pub name: &'static str,
    /// The paths it may route by; none where it refuses.
    pub read: fn(&[u8]) -> Vec<Vec<u8>>,
    /// Where it stands.
    pub place: Place,
}

/// Where a reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It may pass on what it read, unescaped, to a server that reads it again.
    Front,
    /// It routes by what it read.
    Last,
}

/// Every reader.
pub const READERS: &[Reader] = servers::ALL;

/// Whether `path` is `root` or lies below it.
pub fn lies_in(path: &[u8], root: &str) -> bool {
    path.strip_prefix(root.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The reader, or the two behind one another, that find `path` in the subtree at `root`.
pub fn finds(path: &str, root: &str) -> Option<String> {
    let path = path.as_bytes();
    let finds =
        |reader: &Reader, path: &[u8]| (reader.read)(path).iter().any(|seen| lies_in(seen, root));
    if let Some(reader) = READERS.iter().find(|reader| finds(reader, path)) {
        return Some(reader.name.to_owned());
    }
    for front in READERS.iter().filter(|r| r.place == Place::Front) {
        for seen in (front.read)(path) {
            if let Some(behind) = READERS.iter().find(|reader| finds(reader, &seen)) {
                return Some(format!("{} behind {}", behind.name, front.name));
            }
        }
    }
    None
}

#[test]
fn readers_read_as_their_servers_do() {
    for (name, path, seen) in [
        ("Express", "/ADMIN/", "/admin"),
        ("compared in upper case", "/adm%C4%B1n", "/admin"),
        ("Express static files", "/a/../%61dmin", "/admin"),
        ("Tomcat", "/public/..;x=1/admin;y", "/admin"),
        ("Tomcat behind mod_jk", "/public/%252e%252e/admin", "/admin"),
        ("Spring 4", "/%20admin;v=1.json", "/admin"),
        ("Spring 4", "/admin.json", "/admin"),
        ("IIS", "/Public\\..%5cADMIN./x%20", "/admin/x"),
        ("IIS", "/admin::$DATA", "/admin"),
        ("IIS 5", "/public/..%c0%2f%61dmin", "/admin"),
        ("IIS 5", "/%2561dmin", "/admin"),
        ("PHP", "/public/index.php/admin", "/admin"),
        ("PHP", "/app/index.php/admin", "/app/admin"),
        ("Rails", "//admin.json", "/admin"),
        ("Rack files", "/x/%2e%2e/admin", "/admin"),
        ("Werkzeug", "/%61dmin%2Fx", "/admin/x"),
        ("Django static files", "/x/%252e%252e/admin", "/admin"),
        ("nginx", "/x//..//%61dmin", "/admin"),
        ("nginx on Windows", "/ADMIN.", "/admin"),
        ("nginx passing $uri", "/admin%3Fx", "/admin"),
        ("Apache", "/x/.%2e/admin", "/admin"),
        ("Apache 2.4.50", "/x/%252e%252e/admin", "/admin"),
        ("Apache MultiViews", "/admin.php/x", "/admin/x"),
        ("Go", "/x/%2e%2e/admin/", "/admin"),
        ("WHATWG URL", "/x/%2e%2E\\admin", "/admin"),
        ("decoded thrice", "/%25252561dmin", "/%61dmin"),
        ("NFKC", "/%EF%BD%81dmin", "/admin"),
        ("NFKC", "/x%EF%BC%8F%EF%BC%8E%EF%BC%8E/admin", "/admin"),
        ("overlong UTF-8", "/x%e0%80%af..%c0%afadmin", "/admin"),
        ("control bytes dropped", "/ad%00mi%0dn", "/admin"),
        ("cut at NUL", "/admin%00.css", "/admin"),
        ("HFS+", "/ad%e2%80%8cMin", "/admin"),
    ] {
        let reader = READERS.iter().find(|reader| reader.name == name).unwrap();
        let found: Vec<String> = (reader.read)(path.as_bytes())
            .iter()
            .map(|seen| String::from_utf8_lossy(seen).into_owned())
            .collect();
        assert!(
            found.iter().any(|found| found == seen),
            "{name} reads {path}: {found:?}"
        );
    }
}
