//! What a browser says of itself, as far as a session remembers it.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::random;

/// The browser of sessions that tests make.
pub(super) const SEED_BROWSER: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// Where it is: an address that is for documentation only.
pub(super) const SEED_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// The browser and the place that a session was last seen at.
#[derive(Clone)]
pub(super) struct Activity {
    id: String,
    device: Option<&'static str>,
    is_mobile: bool,
    browser: Option<(&'static str, String)>,
    address: IpAddr,
}

impl Activity {
    /// What a `User-Agent` and an address tell.
    pub(super) fn of(user_agent: &str, address: IpAddr) -> Self {
        Self {
            id: random::id("sess_activity"),
            device: device(user_agent),
            is_mobile: user_agent.contains("Mobi"),
            browser: browser(user_agent),
            address,
        }
    }

    /// As the Backend API shows it.
    pub(super) fn shown(&self) -> Value {
        let (name, version) = self.browser.as_ref().map(|(n, v)| (*n, &**v)).unzip();
        let (city, country) = place(self.address).unzip();
        json!({
            "object": "session_activity",
            "id": self.id,
            "device_type": self.device,
            "is_mobile": self.is_mobile,
            "browser_name": name,
            "browser_version": version,
            "ip_address": self.address,
            "city": city,
            "country": country,
        })
    }
}

fn device(user_agent: &str) -> Option<&'static str> {
    // Android says Linux too, and an iPad says it is like a Mac.
    const DEVICES: [&str; 6] = ["iPhone", "iPad", "Android", "Windows", "Macintosh", "Linux"];
    DEVICES.into_iter().find(|name| user_agent.contains(name))
}

/// A browser's name and version. Most browsers name others besides themselves, so order counts.
fn browser(user_agent: &str) -> Option<(&'static str, String)> {
    const BROWSERS: [(&str, &str); 5] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Version/", "Safari"),
    ];
    let mut browsers = BROWSERS.into_iter();
    browsers.find_map(|(mark, name)| {
        let (_, behind) = user_agent.split_once(mark)?;
        let version = behind.split(' ').next().unwrap_or_default();
        Some((name, version.chars().take(32).collect()))
    })
}

/// The stand-in knows nothing of places: those of the addresses for documentation are made up.
fn place(address: IpAddr) -> Option<(&'static str, &'static str)> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [203, 0, 113, _] => Some(("Vienna", "AT")),
            [198, 51, 100, _] => Some(("Lisbon", "PT")),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_known_by_what_it_says_of_itself() {
        let edge = format!("{SEED_BROWSER} Edg/130.0.2");
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
        let android =
            "Mozilla/5.0 (Android 15; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0 (Linux)";
        for (user_agent, device, is_mobile, browser, version) in [
            (
                SEED_BROWSER,
                json!("Macintosh"),
                false,
                json!("Chrome"),
                json!("131.0.0.0"),
            ),
            (
                &*edge,
                json!("Macintosh"),
                false,
                json!("Edge"),
                json!("130.0.2"),
            ),
            (phone, json!("iPhone"), true, json!("Safari"), json!("18.1")),
            (
                android,
                json!("Android"),
                true,
                json!("Firefox"),
                json!("133.0"),
            ),
            ("curl/8.5.0", Value::Null, false, Value::Null, Value::Null),
        ] {
            let shown = Activity::of(user_agent, SEED_ADDRESS).shown();
            assert_eq!(
                [
                    &shown["device_type"],
                    &shown["is_mobile"],
                    &shown["browser_name"],
                    &shown["browser_version"]
                ],
                [&device, &json!(is_mobile), &browser, &version],
                "{user_agent}"
            );
        }
    }

    #[test]
    fn only_made_up_addresses_have_a_place() {
        let of = |address: &str| Activity::of("", address.parse().unwrap()).shown();
        let (made_up, here) = (of("203.0.113.9"), of("127.0.0.1"));
        assert_eq!(
            (&made_up["city"], &made_up["country"]),
            (&json!("Vienna"), &json!("AT"))
        );
        assert_eq!(
            (&here["ip_address"], &here["city"]),
            (&json!("127.0.0.1"), &Value::Null)
        );
    }
}
