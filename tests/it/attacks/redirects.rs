//! Ways back after signing in: whatever is asked for, people come back to our own origin.

use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use http::StatusCode;
use url::Url;

use super::{Case, assert_none, replace, table};
use crate::support::{Answer, World, cookies, raw, usual_routes};

const EVERYBODY: StatusCode = StatusCode::TEMPORARY_REDIRECT;

/// A gate, and the origin it stands at.
struct Place {
    world: World,
    own: String,
}

impl Place {
    async fn here() -> Self {
        let world = World::start().await;
        let own = format!("http://localhost:{}", world.gate.port());
        Self { world, own }
    }

    async fn at_a_public_address() -> Self {
        let world = World::with(usual_routes()).configure(|config| {
            config.edge.public =
                PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap());
        });
        Self {
            world: world.start().await,
            own: "https://app.example.com".to_owned(),
        }
    }

    fn input(&self, case: &Case) -> Vec<u8> {
        let (scheme, authority) = self.own.split_once("://").unwrap();
        let input = replace(&case.input, b"{own}", self.own.as_bytes());
        let input = replace(&input, b"{scheme}", scheme.as_bytes());
        replace(&input, b"{authority}", authority.as_bytes())
    }

    async fn load(&self, target: &[u8], cookies: &str) -> Answer {
        let authority = self.own.split_once("://").unwrap().1;
        let mut request = b"GET ".to_vec();
        request.extend_from_slice(target);
        let lines = format!(
            " HTTP/1.1\r\nhost: {authority}\r\nsec-fetch-dest: document\r\ncookie: {cookies}\r\nconnection: close\r\n\r\n"
        );
        request.extend_from_slice(lines.as_bytes());
        raw(self.world.gate, &request).await
    }

    /// Where people come back to, below our own origin; the error says what is wrong.
    fn way_back(&self, answer: &Answer) -> Result<String, String> {
        let lines = answer.all("location");
        let [location] = &lines[..] else {
            return Err(format!("{} {lines:?}", answer.status));
        };
        let wrong = |what: &str| Err(format!("{what}: {location}"));
        if !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("no plain text");
        }
        let url = Url::parse(location).unwrap();
        if url.as_str() != location {
            return wrong("read differently");
        }
        let pages = ["/sign-in", "/sign-in/create", "/v1/client/handshake"];
        let clerk = Url::parse(&self.world.clerk.url()).unwrap();
        if url.origin() != clerk.origin() || !pages.contains(&url.path()) {
            return wrong("another page");
        }
        let backs: Vec<String> = url
            .query_pairs()
            .filter(|(name, _)| name.to_ascii_lowercase().contains("redirect_url"))
            .map(|(_, value)| value.into_owned())
            .collect();
        let [back] = &backs[..] else {
            return wrong("not one way back");
        };
        let read = Url::parse(back).unwrap();
        let own = Url::parse(&self.own).unwrap();
        let named = !read.username().is_empty() || read.password().is_some();
        if read.origin() != own.origin() || named || read.as_str() != back {
            return wrong("another origin");
        }
        match back.strip_prefix(&self.own) {
            // Whoever takes the origin off must not find another one behind it.
            Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                // The name of the journey comes last, and is the gate's own.
                let at = path.rfind("__clerk_gate_state=").unwrap_or(path.len() + 1);
                Ok(path.get(..at - 1).unwrap_or_default().to_owned())
            }
            _ => wrong("another origin behind ours"),
        }
    }

    /// Whether two addresses differ in how their queries are spelt at most.
    fn are_one(&self, one: &str, other: &str) -> bool {
        let read = |path: &str| {
            let url = Url::parse(&format!("{}{path}", self.own)).unwrap();
            let query: Vec<_> = url.query_pairs().into_owned().collect();
            (url.path().to_owned(), query)
        };
        read(one) == read(other)
    }

    async fn walk(&self) -> Vec<String> {
        let mel = cookies(&self.world.clerk.sign_in("mel", None));
        let mut faults = Vec::new();
        for case in table("redirects.txt", 240) {
            let input = self.input(&case);
            if case.group == "target" {
                faults.extend(self.load_of_target(&case, &input, &mel).await);
                continue;
            }
            let query = if case.group == "query of ours" {
                input
            } else {
                let value: String = url::form_urlencoded::byte_serialize(&input).collect();
                format!("redirect_url={value}").into_bytes()
            };
            for (page, cookies) in [("in", ""), ("up", ""), ("in", &*mel), ("up", &*mel)] {
                let mut target = format!("/_gate/sign-{page}?").into_bytes();
                target.extend_from_slice(&query);
                let answer = self.load(&target, cookies).await;
                let wanted = if case.expected.is_empty() {
                    "/"
                } else {
                    &case.expected
                };
                match self.way_back(&answer) {
                    Ok(path) if answer.status == EVERYBODY && path == wanted => {}
                    Ok(path) => faults.push(case.fault(format!("back to {path}"))),
                    Err(what) => faults.push(case.fault(what)),
                }
                // Only that signing in began here.
                let state = |line: &String| line.starts_with("__Host-clerk-gate-state_");
                if !answer.all("set-cookie").iter().all(state) {
                    faults.push(case.fault("a cookie"));
                }
            }
        }
        self.world.upstream.assert_untouched();
        faults
    }

    /// A page load of a target that asks for a session, by a known browser and by a new one.
    async fn load_of_target(&self, case: &Case, target: &[u8], mel: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for cookies in ["__clerk_db_jwt=d", ""] {
            let answer = self.load(target, cookies).await;
            let refused = answer.status.is_client_error() && answer.all("location").is_empty();
            let right = match self.way_back(&answer) {
                Ok(path) => answer.status == EVERYBODY && self.are_one(&path, &case.expected),
                Err(_) => refused && case.expected == answer.status.as_str(),
            };
            if !right {
                let back = self.way_back(&answer);
                faults.push(case.fault(format!("{} {back:?}", answer.status)));
            }
        }
        self.world.upstream.assert_untouched();
        // For somebody who is signed in it is a path at the upstream, and never an authority.
        let answer = self.load(target, mel).await;
        if !answer.all("location").is_empty() && self.way_back(&answer).is_err() {
            faults.push(case.fault("sent elsewhere"));
        }
        for received in self.world.upstream.take_received() {
            if received.target.starts_with("//") || !received.target.starts_with('/') {
                faults.push(case.fault(received.target));
            }
        }
        faults
    }
}

#[tokio::test]
async fn people_come_back_to_this_very_gate() {
    assert_none(&Place::here().await.walk().await);
}

#[tokio::test]
async fn people_come_back_to_the_public_address() {
    assert_none(&Place::at_a_public_address().await.walk().await);
}
