//! A browser that follows redirects between the sites of a gate and the stand-in, and keeps cookies
//! host by host.

use std::collections::BTreeMap;

use url::{Position, Url};

use super::{Answer, World, exchange};

/// More hops than any honest way has.
const MOST_HOPS: usize = 12;

pub struct Browser<'w> {
    world: &'w World,
    /// Hosts that lead to the gate.
    hosts: &'static [&'static str],
    cookies: BTreeMap<String, BTreeMap<String, String>>,
    /// Host and path of each page that the last visit led over, the answer's own last.
    pub hops: Vec<String>,
    /// The address that the last visit ended at.
    pub at: String,
}

impl<'w> Browser<'w> {
    /// A browser without cookies, for which these hosts lead to the gate.
    pub fn new(world: &'w World, hosts: &'static [&'static str]) -> Self {
        Self {
            world,
            hosts,
            cookies: BTreeMap::new(),
            hops: Vec::new(),
            at: String::new(),
        }
    }

    /// Has a cookie kept on a host.
    pub fn keep(&mut self, host: &str, name: &str, value: impl std::fmt::Display) {
        let jar = self.cookies.entry(host.to_owned()).or_default();
        jar.insert(name.to_owned(), format!("{value}"));
    }

    /// The value of a cookie on a host.
    pub fn cookie(&self, host: &str, name: &str) -> Option<&str> {
        self.cookies.get(host)?.get(name).map(String::as_str)
    }

    /// Opens a page and follows redirects, until there is an answer or one that leads elsewhere.
    pub async fn visit(&mut self, url: &str) -> Answer {
        self.open(url, None).await
    }

    /// The same, by a link on another page.
    pub async fn follow(&mut self, from: &str, url: &str) -> Answer {
        self.open(url, Some(from)).await
    }

    async fn open(&mut self, url: &str, from: Option<&str>) -> Answer {
        self.hops.clear();
        let mut url = Url::parse(url).unwrap();
        loop {
            let host = url.host_str().unwrap().to_owned();
            self.hops.push(format!("{host}{}", url.path()));
            assert!(self.hops.len() <= MOST_HOPS, "in circles: {:?}", self.hops);
            let answer = self.load(&url, &host, from).await;
            self.store(&host, &answer);
            url.as_str().clone_into(&mut self.at);
            let next = answer
                .header("location")
                .map(|to| url.join(to).unwrap())
                .filter(|to| self.is_known(to));
            match next {
                Some(next) if answer.status.is_redirection() => url = next,
                _ => break self.rest(answer),
            }
        }
    }

    fn is_known(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap();
        self.hosts.contains(&host) || self.is_clerk(url)
    }

    fn is_clerk(&self, url: &Url) -> bool {
        url.as_str().starts_with(&self.world.clerk.url())
    }

    async fn load(&self, url: &Url, host: &str, from: Option<&str>) -> Answer {
        let pairs: Vec<String> = self
            .cookies
            .get(host)
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let referer = from
            .map(|from| format!("referer: {from}\r\n"))
            .unwrap_or_default();
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n{referer}sec-fetch-dest: document\r\nsec-fetch-mode: navigate\r\naccept: text/html\r\nconnection: close\r\n\r\n",
            &url[Position::BeforePath..Position::AfterQuery],
            &url[Position::BeforeHost..Position::AfterPort],
            pairs.join("; "),
        );
        let server = if self.is_clerk(url) {
            self.world.clerk.addr()
        } else {
            self.world.gate
        };
        exchange(server, request.as_bytes()).await.remove(0)
    }

    fn store(&mut self, host: &str, answer: &Answer) {
        let jar = self.cookies.entry(host.to_owned()).or_default();
        for line in answer.all("set-cookie") {
            let (pair, attributes) = line.split_once(';').unwrap_or((&line, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Long enough for what is kept for two seconds to be forgotten.
    fn rest(&mut self, answer: Answer) -> Answer {
        for jar in self.cookies.values_mut() {
            jar.remove("__clerk_redirect_count");
        }
        answer
    }
}
