//! Clerk's script for browsers, clerk-js, in pages of an application that has none: what is put into
//! a page, and what the page has to allow for it to work (protocol reference, section 10.1).

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use url::Url;

use super::csp::Needs;
use super::instance::{Continuity, Instance};
use super::origin::Origin;

/// The script that starts clerk-js, as browsers get it.
pub const START_SCRIPT: &str = include_str!("../../templates/start.js");

/// Where the start script is, below the prefix of our own pages.
pub const START_SCRIPT_PAGE: &str = "inject/start.js";

/// The parameter that names the version of the start script.
pub const START_SCRIPT_VERSION: &str = "v";

/// Which clerk-js pages load, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The exact version.
    pub version: ClerkJsVersion,
    /// The address of the script, if it is not the Frontend API's.
    pub src: Option<Url>,
}

/// An exact version, `x.y.z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClerkJsVersion(String);

impl ClerkJsVersion {
    /// Reads a version of three numbers and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            !part.is_empty()
                && part.len() <= 9
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'))
        };
        let parts: Vec<&str> = text.split('.').collect();
        (parts.len() == 3 && parts.into_iter().all(number)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for ClerkJsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is put into one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insertion {
    markup: String,
    needs: Needs,
}

impl Insertion {
    /// What a page on `origin` gets; `None` where nothing is to be put into pages of the instance.
    ///
    /// Every address is written out: a `<base>` of the page would lead others elsewhere.
    pub fn of(instance: &Instance, origin: &Origin, pages_prefix: &str) -> Option<Self> {
        let injection = instance.injection.as_ref()?;
        // A satellite's script has to be told of its primary in ways of its own.
        if instance.continuity == Continuity::Faithful || instance.satellite.is_some() {
            return None;
        }
        let page = Url::parse(&origin.to_string()).ok()?;
        let frontend_api = instance.frontend_api_at(origin);
        let follows_from_key = *frontend_api == format!("https://{}", instance.key.frontend_api());
        let script = match &injection.src {
            Some(src) => src.clone(),
            None => Url::parse(&format!(
                "{frontend_api}/npm/@clerk/clerk-js@{}/dist/clerk.browser.js",
                injection.version
            ))
            .ok()?,
        };
        let mut start = page
            .join(&format!("{pages_prefix}{START_SCRIPT_PAGE}"))
            .ok()?;
        start
            .query_pairs_mut()
            .append_pair(START_SCRIPT_VERSION, start_script_version());
        let mut clerk_js = Tag::script();
        clerk_js.attribute("crossorigin", "anonymous");
        clerk_js.attribute("data-clerk-publishable-key", instance.key.as_str());
        if !follows_from_key {
            clerk_js.attribute("data-clerk-proxy-url", &frontend_api);
        }
        clerk_js.attribute("src", script.as_str());
        let mut starter = Tag::script();
        for (name, address) in [
            ("data-sign-in-url", &instance.sign_in_url),
            ("data-sign-up-url", &instance.sign_up_url),
        ] {
            if let Some(address) = address {
                starter.attribute(name, page.join(address).ok()?.as_str());
            }
        }
        starter.attribute("src", start.as_str());
        let call = |path: &str| Url::parse(&format!("{frontend_api}{path}")).ok();
        Some(Self {
            markup: clerk_js.closed() + &starter.closed(),
            needs: Needs {
                scripts: vec![script, start],
                connections: vec![call("/v1/environment")?, call("/v1/client")?],
                page,
            },
        })
    }

    /// The tags, in ASCII.
    pub fn markup(&self) -> &str {
        &self.markup
    }

    /// What policies of the page have to allow.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }
}

/// The version of the start script: it changes with its text.
pub fn start_script_version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        // FNV-1a: told apart, not secured.
        let hash = START_SCRIPT
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("{hash:016x}")
    });
    &VERSION
}

/// A script tag while it is written.
struct Tag(String);

impl Tag {
    fn script() -> Self {
        Self("<script defer".to_owned())
    }

    // SECURITY: whatever a configuration holds stays inside its attribute. The page may be in any
    // encoding that has ASCII in it, so nothing else is written.
    fn attribute(&mut self, name: &str, value: &str) {
        let _ = write!(self.0, " {name}=\"");
        for sign in value.chars() {
            match sign {
                '"' | '&' | '<' | '>' | '\'' => {
                    let _ = write!(self.0, "&#{};", u32::from(sign));
                }
                sign if sign.is_ascii() => self.0.push(sign),
                sign => {
                    let _ = write!(self.0, "&#{};", u32::from(sign));
                }
            }
        }
        self.0.push('"');
    }

    fn closed(self) -> String {
        self.0 + "></script>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::instance::{BackendApi, Satellite};
    use crate::core::key::PublishableKey;

    /// `clerk.example.com`.
    const KEY: &str = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k";

    fn instance() -> Instance {
        let key = PublishableKey::parse(KEY).unwrap();
        let mut instance = Instance::of(key, BackendApi::Available);
        instance.injection = Some(Injection {
            version: ClerkJsVersion::parse("6.29.3").unwrap(),
            src: None,
        });
        instance
    }

    fn insertion(instance: &Instance) -> Option<Insertion> {
        let origin = Origin::parse("https://app.example.com").unwrap();
        Insertion::of(instance, &origin, "/_gate/")
    }

    #[test]
    fn only_an_exact_version_is_one() {
        for text in ["6.29.3", "0.0.0", "10.200.3000"] {
            assert_eq!(ClerkJsVersion::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "6",
            "6.29",
            "latest",
            "6.29.x",
            "^6.29.3",
            "~6.29.3",
            "6.29.3-canary.1",
            "v6.29.3",
            "6.29.3 ",
            "06.29.3",
            "6..3",
            "6.29.3.1",
            "6.29.3/../x",
            "６.29.3",
            "6.29.1234567890",
        ] {
            assert_eq!(ClerkJsVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_script_comes_from_the_frontend_api_of_the_key() {
        let version = start_script_version();
        assert_eq!(
            insertion(&instance()).unwrap().markup(),
            format!(
                "<script defer crossorigin=\"anonymous\" data-clerk-publishable-key=\"{KEY}\" \
                 src=\"https://clerk.example.com/npm/@clerk/clerk-js@6.29.3/dist/clerk.browser.js\"></script>\
                 <script defer src=\"https://app.example.com/_gate/inject/start.js?v={version}\"></script>"
            )
        );
    }

    #[test]
    fn a_proxy_is_named_and_the_script_comes_through_it() {
        let mut instance = instance();
        "/__clerk".clone_into(&mut instance.frontend_api);
        let insertion = insertion(&instance).unwrap();
        for part in [
            "data-clerk-proxy-url=\"https://app.example.com/__clerk\"",
            "src=\"https://app.example.com/__clerk/npm/@clerk/clerk-js@6.29.3/dist/clerk.browser.js\"",
        ] {
            assert!(insertion.markup().contains(part), "{}", insertion.markup());
        }
        let calls = insertion.needs().connections.iter();
        assert!(
            calls
                .map(Url::as_str)
                .all(|url| url.starts_with("https://app.example.com/__clerk/v1/"))
        );
    }

    #[test]
    fn what_is_configured_stays_inside_its_attribute() {
        let mut instance = instance();
        instance.sign_in_url = Some("/sign-in?a=\"><script>&b='é".to_owned());
        instance.injection.as_mut().unwrap().src =
            Url::parse("https://cdn.example/x.js?a&b='\"").ok();
        let insertion = insertion(&instance).unwrap();
        assert_eq!(
            insertion.markup().matches('<').count(),
            4,
            "{}",
            insertion.markup()
        );
        assert!(insertion.markup().is_ascii());
        assert!(
            insertion
                .markup()
                .contains("src=\"https://cdn.example/x.js?a&#38;b=%27%22\""),
            "{}",
            insertion.markup()
        );
        assert!(
            insertion
                .markup()
                .contains("data-sign-in-url=\"https://app.example.com/sign-in?a=%22%3E%3Cscript%3E&#38;b=%27%C3%A9\""),
            "{}",
            insertion.markup()
        );
    }

    #[test]
    fn nothing_is_put_into_pages_unless_it_is_asked_for() {
        let mut off = instance();
        off.injection = None;
        let mut faithful = instance();
        faithful.continuity = Continuity::Faithful;
        let mut satellite = instance();
        satellite.satellite = Some(Satellite { auto_sync: false });
        for instance in [off, faithful, satellite] {
            assert_eq!(insertion(&instance), None);
        }
    }

    #[test]
    fn the_start_script_is_plain_ascii_and_small() {
        assert!(START_SCRIPT.is_ascii());
        assert!(START_SCRIPT.len() < 1500, "{}", START_SCRIPT.len());
    }
}
