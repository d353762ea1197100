//! The page of one's sessions, and the answers to what is done there.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{Document, STYLE, json_document, notice, page_document};
use crate::clerk::browsers::HeldSession;
use crate::clerk::sessions::{Activity, Session};
use crate::core::facts::Audience;
use crate::core::notice::{Notice, Tab};
use crate::core::reason::Reason;
use crate::core::reply;

/// What the page of somebody's sessions shows.
#[derive(Debug)]
pub struct SessionsView<'a> {
    /// The sessions, as Clerk lists them.
    pub sessions: &'a [Session],
    /// Whether there are more than are listed.
    pub cut: bool,
    /// The session that asks.
    pub current: &'a str,
    /// Whether somebody acts in the person's name, and may only look.
    pub impersonated: bool,
    /// Who else is signed in on this browser; `None` where that cannot be told.
    pub beside: Option<&'a [HeldSession]>,
    /// Clerk's page to choose between the sessions of a browser.
    pub chooser: Option<&'a str>,
    /// What has just been done.
    pub word: Option<Word>,
    /// The prefix of our own pages.
    pub prefix: &'a str,
    /// Other origins that a form of the page may lead to.
    pub form_targets: &'a [String],
}

/// What has just been done, as an address says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A session was ended.
    Revoked,
    /// All others were ended.
    OthersRevoked,
    /// Another session of this browser is in front.
    Switched,
}

impl Word {
    const ALL: [Self; 3] = [Self::Revoked, Self::OthersRevoked, Self::Switched];

    /// The word in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::OthersRevoked => "others-revoked",
            Self::Switched => "switched",
        }
    }

    /// The word of an address; anything else says nothing.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == text)
    }

    // SECURITY: what is said is written here; an address only chooses.
    fn sentence(self) -> &'static str {
        match self {
            Self::Revoked => "The session has ended.",
            Self::OthersRevoked => "All other sessions have ended.",
            Self::Switched => "You are now using another account.",
        }
    }
}

/// What could not be ended at Clerk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// How many sessions Clerk has ended.
    pub confirmed: usize,
    /// How many it has not.
    pub unconfirmed: usize,
    /// Whether there may be further ones.
    pub unlisted: bool,
    /// Whether it was the session of this browser that was to end.
    pub own: bool,
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage<'a> {
    sessions: Vec<Line>,
    others: usize,
    cut: bool,
    impersonated: bool,
    beside: Vec<Beside>,
    beside_unknown: bool,
    chooser: Option<&'a str>,
    sentence: Option<&'static str>,
    prefix: &'a str,
    style: &'static str,
}

/// A session, in words.
struct Line {
    id: String,
    current: bool,
    pending: bool,
    title: String,
    /// What a button says to whoever hears it.
    spoken: String,
    details: Vec<String>,
    active: Option<Moment>,
    created: Option<Moment>,
}

struct Beside {
    id: String,
    title: String,
    identifier: Option<String>,
}

/// A moment, for programs and for people.
struct Moment {
    exact: String,
    plain: String,
}

/// The sessions of somebody, for whoever reads them.
pub fn sessions(view: &SessionsView<'_>, audience: Audience) -> Document {
    let mut sessions: Vec<&Session> = view.sessions.iter().collect();
    sessions.sort_by_key(|session| {
        let active = session.active_ms.unwrap_or_default();
        (session.id != view.current, std::cmp::Reverse(active))
    });
    if audience == Audience::Program {
        let listed: Vec<Value> = sessions
            .iter()
            .map(|session| described(session, view.current))
            .collect();
        let body = json!({ "sessions": listed, "complete": !view.cut });
        return json_document(StatusCode::OK, &body);
    }
    let lines: Vec<Line> = sessions
        .into_iter()
        .map(|session| line(session, view.current))
        .collect();
    let beside = view.beside.unwrap_or_default().iter().map(|held| Beside {
        id: held.id.clone(),
        title: held
            .name
            .clone()
            .or_else(|| held.identifier.clone())
            .unwrap_or_else(|| "another account".to_owned()),
        identifier: held.identifier.clone().filter(|_| held.name.is_some()),
    });
    let page = SessionsPage {
        others: lines.iter().filter(|line| !line.current).count(),
        sessions: lines,
        cut: view.cut,
        impersonated: view.impersonated,
        beside: beside.collect(),
        beside_unknown: view.beside.is_none(),
        chooser: view.chooser.filter(|_| !view.impersonated),
        sentence: view.word.map(Word::sentence),
        prefix: view.prefix,
        style: STYLE,
    };
    let body = page.render().unwrap_or_else(|_| "Your sessions".to_owned());
    page_document(StatusCode::OK, body, view.form_targets)
}

fn described(session: &Session, current: &str) -> Value {
    let Activity {
        device,
        mobile,
        browser,
        browser_version,
        ip,
        city,
        country,
    } = &session.activity;
    json!({
        "id": session.id,
        "current": session.id == current,
        "status": session.status,
        "created_at": session.created_ms,
        "last_active_at": session.active_ms,
        "expire_at": session.expires_ms,
        "device": {
            "type": device,
            "mobile": mobile,
            "browser": browser,
            "browser_version": browser_version,
        },
        "place": { "city": city, "country": country },
        "ip": ip,
    })
}

fn line(session: &Session, current: &str) -> Line {
    let activity = &session.activity;
    let browser = activity.browser.as_deref();
    let title = match (browser, activity.device.as_deref()) {
        (Some(browser), Some(device)) => format!("{browser} on {device}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "A browser".to_owned(),
    };
    let place = [&activity.city, &activity.country]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let mut spoken = browser.unwrap_or("a browser").to_owned();
    if let Some(city) = &activity.city {
        spoken = format!("{spoken}, {city}");
    }
    let version = activity.browser_version.as_ref();
    let details = [
        (!place.is_empty()).then_some(place),
        activity.ip.clone(),
        version.map(|version| format!("version {version}")),
    ];
    Line {
        id: session.id.clone(),
        current: session.id == current,
        pending: session.status == "pending",
        title,
        spoken,
        details: details.into_iter().flatten().collect(),
        active: session.active_ms.and_then(moment),
        created: session.created_ms.and_then(moment),
    }
}

/// A moment in words; none beyond the calendars of this program.
fn moment(ms: u64) -> Option<Moment> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    /// The first millisecond of the year 9000.
    const END_MS: u64 = 221_845_392_000_000;
    let time = (ms < END_MS).then(|| UNIX_EPOCH + Duration::from_millis(ms))?;
    let exact = humantime::format_rfc3339_seconds(time).to_string();
    let (date, clock) = exact.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    let plain = format!(
        "{} {month} {year}, {} UTC",
        day.trim_start_matches('0'),
        clock.get(..5)?
    );
    Some(Moment { exact, plain })
}

/// Says to a program that so many sessions have ended.
pub fn signed_out(sessions: usize) -> Document {
    let body = json!({ "signed_out": true, "sessions": sessions });
    json_document(StatusCode::OK, &body)
}

/// Says to a program that so many other sessions have ended.
pub fn revoked(sessions: usize) -> Document {
    json_document(StatusCode::OK, &json!({ "revoked": sessions }))
}

/// Says to a program which session is in front now.
pub fn switched(session: &str) -> Document {
    json_document(StatusCode::OK, &json!({ "switched_to": session }))
}

/// A token for a page.
pub fn token(jwt: &str, expires_s: Option<u64>) -> Document {
    let body = json!({ "jwt": jwt, "expires_at": expires_s });
    json_document(StatusCode::OK, &body)
}

/// Says that something has ended here and, as far as is known, not at Clerk.
pub fn unconfirmed(
    what: Unconfirmed,
    prefix: &str,
    audience: Audience,
    request_id: &str,
) -> Document {
    let reason = Reason::RevocationUnconfirmed;
    let status = reply::status(crate::core::decide::RefusalKind::Request, reason);
    let mut document = if audience == Audience::Program {
        let body = json!({
            "error": {
                "code": reason.code(),
                "message": reason.message(),
                "sign_in_url": null,
                "request_id": request_id,
            },
            "signed_out": what.own,
            "sessions": what.confirmed,
            "unconfirmed": what.unconfirmed,
            "complete": !what.unlisted,
        });
        json_document(status, &body)
    } else {
        let (title, message) = match (what.own, what.unlisted || what.unconfirmed > 1) {
            (true, false) => (
                "You are signed out on this browser",
                "but Clerk has not confirmed that the session has ended: it may live on elsewhere. This site no longer accepts it. Please try again in a moment",
            ),
            (true, true) => (
                "You are signed out on this browser",
                "but Clerk has not confirmed that all your sessions have ended: some may live on elsewhere. Please try again in a moment",
            ),
            (false, _) => (
                "Not everything has ended",
                "this site no longer accepts what you have ended, but Clerk has not confirmed it: it may live on elsewhere. Please try again in a moment",
            ),
        };
        let page = if what.own { "sign-out" } else { "sessions" };
        let retry = format!("{prefix}{page}");
        let said = Notice {
            title,
            message,
            code: reason.code(),
            sign_in_url: None,
            unsent: None,
            sign_in_tab: Tab::Same,
            again: None,
            request_id: request_id.to_owned(),
        };
        notice::said(status, &said, Some(&retry))
    };
    let retry = HeaderValue::from_static("5");
    document.headers.insert(http::header::RETRY_AFTER, retry);
    document
}

impl Document {
    /// The same document, with these Set-Cookie lines.
    #[must_use]
    pub fn setting(mut self, cookies: &[String]) -> Self {
        for cookie in cookies {
            if let Ok(value) = HeaderValue::from_str(cookie) {
                self.headers.append(SET_COOKIE, value);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_programs_and_to_people() {
        let told = |ms| moment(ms).map(|moment| (moment.exact, moment.plain));
        assert_eq!(
            told(1_790_000_000_000),
            Some((
                "2026-09-21T14:13:20Z".to_owned(),
                "21 September 2026, 14:13 UTC".to_owned()
            ))
        );
        assert_eq!(told(u64::MAX), None);
        assert!(told(0).is_some());
    }

    #[test]
    fn an_address_chooses_among_sentences_and_says_none() {
        for word in Word::ALL {
            assert_eq!(Word::parse(word.as_str()), Some(word));
        }
        assert_eq!(Word::parse("<b>revoked</b>"), None);
    }
}
