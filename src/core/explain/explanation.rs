//! An explanation: what becomes of a request and why, for people and for programs.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::core::decide::{Decision, RefusalKind, Standing, Verdict};
use crate::core::identity_headers::IDENTITY_HEADERS;
use crate::core::question::COVERED;
use crate::core::reason::Reason;
use crate::core::reply;

/// What becomes of a request, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reaches the upstream.
    Allowed,
    /// It reaches Clerk's Frontend API.
    Relayed,
    /// Sign in first: a redirect or a 401.
    SignedOut,
    /// Signed in, but may not: a 403 or a redirect.
    Forbidden,
    /// Neither is told: a 404.
    NotFound,
    /// The request itself cannot be taken.
    Refused,
    /// It cannot be told at the moment: a 503.
    Unavailable,
    /// A page of the gate answers.
    Page,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Allowed,
        Self::Relayed,
        Self::SignedOut,
        Self::Forbidden,
        Self::NotFound,
        Self::Refused,
        Self::Unavailable,
        Self::Page,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Relayed => "relayed",
            Self::SignedOut => "signed-out",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Page => "page",
        }
    }

    /// What a verdict comes to.
    pub fn of(verdict: &Verdict) -> Self {
        match &verdict.decision {
            Decision::Forward(_) => Self::Allowed,
            Decision::Relay(_) => Self::Relayed,
            Decision::Page(_) | Decision::Serve(_) => Self::Page,
            Decision::Redirect(_) if verdict.standing == Standing::SignedIn => Self::Forbidden,
            Decision::Redirect(_) => Self::SignedOut,
            Decision::Refuse(refusal) => match refusal.kind {
                RefusalKind::Unauthorized if verdict.standing == Standing::SignedIn => {
                    Self::Forbidden
                }
                RefusalKind::SignedOut | RefusalKind::Unauthorized => Self::SignedOut,
                RefusalKind::Forbidden => Self::Forbidden,
                RefusalKind::Hidden => Self::NotFound,
                RefusalKind::Request => Self::Refused,
                RefusalKind::Unavailable => Self::Unavailable,
            },
        }
    }
}

/// Another way to read the path, and the route it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingLine {
    /// What kind of leniency leads to it.
    pub kind: &'static str,
    /// The path such a server would see.
    pub path: String,
    /// The route that this path has.
    pub route: String,
}

/// A request on its way to Clerk's Frontend API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The path there.
    pub path: String,
    /// The proxy it is said to come by.
    pub proxy_url: String,
}

impl Relay {
    pub(super) fn of(verdict: &Verdict) -> Option<Self> {
        match &verdict.decision {
            Decision::Relay(permit) => Some(Self {
                path: permit.path().to_owned(),
                proxy_url: permit.proxy_url().to_owned(),
            }),
            Decision::Forward(_)
            | Decision::Redirect(_)
            | Decision::Refuse(_)
            | Decision::Page(_)
            | Decision::Serve(_) => None,
        }
    }
}

/// A requirement and whether it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The route that asks it.
    pub route: String,
    /// What it asks, in words.
    pub requirement: String,
    /// Whether it is met.
    pub met: bool,
    /// Why not, for somebody who is signed in.
    pub reason: Option<&'static str>,
}

/// Why a request falls as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The host that was asked for.
    pub host: String,
    /// The site that it belongs to, if there are several: whoever has the addresses says so.
    pub site: Option<String>,
    /// The canonical path.
    pub path: String,
    /// The path that the application gets, if it is another one.
    pub forwarded: Option<String>,
    /// The route that decides; `None` for pages of the gate.
    pub route: Option<String>,
    /// Other readings of the path that count.
    pub readings: Vec<ReadingLine>,
    /// How long sessions ride through an outage of Clerk's here, if they do.
    pub ride_through: Option<Duration>,
    /// Requirements, judged one by one.
    pub requirements: Vec<Judged>,
    /// How the sender stands.
    pub standing: Standing,
    /// The user, if signed in.
    pub user: Option<String>,
    /// The active organisation.
    pub organization: Option<String>,
    /// The reason code, with its detail.
    pub reason: Option<String>,
    /// What the visitor is told.
    pub message: Option<&'static str>,
    /// What becomes of the request.
    pub outcome: Outcome,
    /// The status of an answer of the gate; `None` where the upstream answers.
    pub status: Option<StatusCode>,
    /// Where the visitor is sent.
    pub location: Option<String>,
    /// What Clerk's Frontend API is asked, if the request goes there.
    pub relay: Option<Relay>,
    /// The identity headers that the upstream gets.
    pub upstream: Vec<(String, String)>,
    /// Effects that a running gate would have had, taken for failed here.
    pub left_out: Vec<&'static str>,
    /// What was found out when it was judged, of a request that was; it counts here too.
    pub recorded: Vec<String>,
}

impl Explanation {
    /// Of a request that cannot be read in one way: no route is looked for.
    pub fn of_unreadable(method: &str, target: &str, reason: Reason) -> Self {
        Self {
            method: method.to_owned(),
            host: String::new(),
            site: None,
            path: target.to_owned(),
            forwarded: None,
            route: None,
            readings: Vec::new(),
            ride_through: None,
            requirements: Vec::new(),
            standing: Standing::Unasked,
            user: None,
            organization: None,
            reason: Some(reason.code().to_owned()),
            message: Some(reason.message()),
            outcome: Outcome::Refused,
            status: Some(reply::status(RefusalKind::Request, reason)),
            location: None,
            relay: None,
            upstream: Vec::new(),
            left_out: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// Covers what the application is told of a person beside what the gate always tells: claims that the
    /// operator has chosen.
    pub fn cover_claims(&mut self) {
        for (name, value) in &mut self.upstream {
            if !IDENTITY_HEADERS.iter().any(|known| known == name.as_str()) {
                COVERED.clone_into(value);
            }
        }
    }

    /// The explanation for programs.
    pub fn to_json(&self) -> Value {
        let upstream: serde_json::Map<String, Value> = self
            .upstream
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        json!({
            "method": self.method,
            "host": self.host,
            "site": self.site,
            "path": self.path,
            "forwarded": self.forwarded,
            "route": self.route,
            "readings": self.readings.iter().map(|line| json!({
                "kind": line.kind, "path": line.path, "route": line.route,
            })).collect::<Vec<_>>(),
            "ride_through_s": self.ride_through.map(|most| most.as_secs()),
            "requirements": self.requirements.iter().map(|line| json!({
                "route": line.route, "requirement": line.requirement, "met": line.met, "reason": line.reason,
            })).collect::<Vec<_>>(),
            "standing": standing(self.standing),
            "user": self.user,
            "organization": self.organization,
            "reason": self.reason,
            "message": self.message,
            "outcome": self.outcome.as_str(),
            "status": self.status.map(|status| status.as_u16()),
            "location": self.location,
            "relay": self.relay.as_ref().map(|relay| json!({
                "path": relay.path, "proxy_url": relay.proxy_url,
            })),
            "upstream": upstream,
            "left_out": self.left_out,
            "recorded": self.recorded,
        })
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::SignedIn => "signed-in",
        Standing::SignedOut => "signed-out",
        Standing::Handshake => "handshake",
        Standing::Unasked => "not asked",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {} {}", self.method, self.path)?;
        if !self.host.is_empty() {
            writeln!(f, "host      {}", self.host)?;
        }
        if let Some(site) = &self.site {
            writeln!(f, "site      {site}")?;
        }
        if let Some(route) = &self.route {
            writeln!(f, "route     {route}")?;
        }
        if let Some(path) = &self.forwarded {
            writeln!(f, "forwards  {path}")?;
        }
        for line in &self.readings {
            writeln!(
                f,
                "also      {}, as `{}` ({} reading)",
                line.route, line.path, line.kind
            )?;
        }
        let who = match (&self.user, &self.organization) {
            (Some(user), Some(organization)) => format!("{user} in {organization}"),
            (Some(user), None) => user.clone(),
            (None, _) => standing(self.standing).to_owned(),
        };
        writeln!(f, "who       {who}")?;
        for line in &self.requirements {
            let met = if line.met { "met" } else { "not met" };
            write!(f, "requires  {}: {met}", line.requirement)?;
            match line.reason {
                Some(reason) => writeln!(f, " ({reason})")?,
                None => writeln!(f)?,
            }
        }
        if let Some(most) = self.ride_through {
            writeln!(
                f,
                "rides     up to {} s after the end of a token, while Clerk is out of reach",
                most.as_secs()
            )?;
        }
        for answer in &self.recorded {
            writeln!(f, "recorded  {answer}")?;
        }
        for effect in &self.left_out {
            writeln!(f, "left out  {effect}")?;
        }
        write!(f, "outcome   {}", self.outcome.as_str())?;
        if let Some(status) = self.status {
            write!(f, ", {status}")?;
        }
        writeln!(f)?;
        if let Some(reason) = &self.reason {
            write!(f, "reason    {reason}")?;
            match self.message {
                Some(message) => writeln!(f, ": {message}")?,
                None => writeln!(f)?,
            }
        }
        if let Some(location) = &self.location {
            writeln!(f, "to        {location}")?;
        }
        if let Some(Relay { path, proxy_url }) = &self.relay {
            writeln!(
                f,
                "to        {path} of the Frontend API, by way of {proxy_url}"
            )?;
        }
        for (name, value) in &self.upstream {
            writeln!(f, "upstream  {name}: {value}")?;
        }
        Ok(())
    }
}
