//! What the stand-in remembers: clients with their dev browsers, sessions, and handshake nonces.
//!
//! Nothing here knows HTTP or tokens. Times are Unix milliseconds, handed in.

use std::collections::{HashMap, HashSet};

use super::devices::Activity;
use super::people::{Person, SessionStart};
use super::random;

/// How long a session lives, as Clerk's default: seven days.
pub(super) const SESSION_LIFETIME: u64 = 7 * 24 * 60 * 60 * 1000;
/// How long a handshake payload waits to be fetched.
const NONCE_LIFETIME: u64 = 60_000;

/// Everything that changes while the stand-in runs.
#[derive(Default)]
pub(super) struct State {
    clients: Vec<Client>,
    sessions: Vec<Session>,
    payloads: HashMap<String, Payload>,
    banned: HashSet<String>,
}

/// One browser, known by its dev browser token.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) dev_browser: String,
    /// When the signed-in state last changed, in Unix seconds; 0 is signed out.
    pub(super) uat: u64,
    /// The session that page loads get.
    pub(super) current: Option<String>,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
}

/// One person signed in at one client.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) client_id: String,
    pub(super) user_id: String,
    pub(super) status: Status,
    pub(super) organization_id: Option<String>,
    pub(super) refresh_token: String,
    pub(super) activity: Activity,
    pub(super) last_active_at: u64,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Active,
    Pending,
    Ended,
    Removed,
    Revoked,
    Expired,
}

struct Payload {
    directives: Vec<String>,
    made_at: u64,
}

impl Status {
    /// The name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Ended => "ended",
            Self::Removed => "removed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// Whether such a session still gives tokens.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Pending)
    }
}

impl State {
    /// The client of a dev browser token.
    pub(super) fn client_of(&self, dev_browser: &str) -> Option<Client> {
        let mut clients = self.clients.iter();
        clients
            .find(|client| client.dev_browser == dev_browser)
            .cloned()
    }

    /// The client with this id.
    pub(super) fn client(&self, id: &str) -> Option<Client> {
        self.clients.iter().find(|client| client.id == id).cloned()
    }

    /// The client of a dev browser token, or a new one.
    ///
    /// An unknown token is not adopted: only the stand-in chooses them.
    pub(super) fn client_or_new(&mut self, dev_browser: Option<&str>, now: u64) -> Client {
        if let Some(known) = dev_browser.and_then(|token| self.client_of(token)) {
            return known;
        }
        let client = Client {
            id: random::id("client"),
            dev_browser: random::id("dvb"),
            uat: 0,
            current: None,
            created_at: now,
            updated_at: now,
        };
        self.clients.push(client.clone());
        client
    }

    /// Starts a session, which becomes the client's current one.
    pub(super) fn sign_in(
        &mut self,
        client_id: &str,
        person: &Person,
        activity: Activity,
        now: u64,
    ) -> Session {
        let (status, first) = match person.start {
            SessionStart::Active => (Status::Active, person.memberships.first()),
            SessionStart::Pending => (Status::Pending, None),
        };
        let session = Session {
            id: random::id("sess"),
            client_id: client_id.to_owned(),
            user_id: person.user_id.clone(),
            status,
            organization_id: first.map(|membership| membership.organization.id.clone()),
            refresh_token: random::id("rt"),
            activity,
            last_active_at: now,
            created_at: now,
            updated_at: now,
        };
        self.sessions.push(session.clone());
        self.changed(client_id, Some(&session.id), now);
        session
    }

    /// The session with this id, as it stands now.
    pub(super) fn session(&self, id: &str, now: u64) -> Option<Session> {
        let found = self.sessions.iter().find(|session| session.id == id);
        found.map(|session| session.at(now))
    }

    /// All sessions, newest first.
    pub(super) fn sessions(&self, now: u64) -> impl Iterator<Item = Session> {
        self.sessions
            .iter()
            .rev()
            .map(move |session| session.at(now))
    }

    /// The sessions of a client that still live, newest first.
    pub(super) fn live_sessions(&self, client_id: &str, now: u64) -> Vec<Session> {
        self.sessions(now)
            .filter(|session| session.client_id == client_id && session.status.is_live())
            .collect()
    }

    /// The session that a page load of this client gets.
    pub(super) fn current(&self, client: &Client, now: u64) -> Option<Session> {
        let current = client.current.as_deref()?;
        self.session(current, now)
            .filter(|session| session.status.is_live())
    }

    /// Makes a live session its client's current one.
    pub(super) fn choose(&mut self, id: &str, now: u64) -> Option<Session> {
        let session = self.session(id, now)?;
        if !session.status.is_live() {
            return None;
        }
        self.changed(&session.client_id, Some(id), now);
        self.seen(id, now);
        Some(session)
    }

    /// Notes that somebody uses a session.
    pub(super) fn seen(&mut self, id: &str, now: u64) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) {
            session.last_active_at = now;
        }
    }

    /// Whether a person is banned.
    pub(super) fn is_banned(&self, user_id: &str) -> bool {
        self.banned.contains(user_id)
    }

    /// Bans a person. The sessions are somebody else's affair.
    pub(super) fn ban(&mut self, user_id: &str) {
        self.banned.insert(user_id.to_owned());
    }

    /// Lifts a ban.
    pub(super) fn unban(&mut self, user_id: &str) {
        self.banned.remove(user_id);
    }

    /// Activates an organisation, or none, for a session; a pending one is complete with that.
    pub(super) fn activate(&mut self, id: &str, organization_id: Option<&str>, now: u64) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) {
            session.organization_id = organization_id.map(str::to_owned);
            session.updated_at = now;
            if session.status == Status::Pending && organization_id.is_some() {
                session.status = Status::Active;
            }
        }
    }

    /// Ends a live session for the given reason; another live one of the client takes its place.
    pub(super) fn end(&mut self, id: &str, how: Status, now: u64) -> Option<Session> {
        let session = self.sessions.iter_mut().find(|session| session.id == id)?;
        if !session.at(now).status.is_live() {
            return Some(session.at(now));
        }
        session.status = how;
        session.updated_at = now;
        let session = session.clone();
        let client = self.client(&session.client_id)?;
        let current = self
            .current(&client, now)
            .or_else(|| self.live_sessions(&client.id, now).into_iter().next());
        let current = current.map(|session| session.id);
        self.changed(&client.id, current.as_deref(), now);
        Some(session)
    }

    /// Keeps a handshake payload until it is taken, and forgets those nobody took.
    pub(super) fn keep_payload(&mut self, directives: Vec<String>, now: u64) -> String {
        self.payloads
            .retain(|_, payload| now.saturating_sub(payload.made_at) < NONCE_LIFETIME);
        let nonce = random::text(32);
        self.payloads.insert(
            nonce.clone(),
            Payload {
                directives,
                made_at: now,
            },
        );
        nonce
    }

    /// The handshake payload of a nonce, once.
    pub(super) fn take_payload(&mut self, nonce: &str, now: u64) -> Option<Vec<String>> {
        let payload = self.payloads.remove(nonce)?;
        (now.saturating_sub(payload.made_at) < NONCE_LIFETIME).then_some(payload.directives)
    }

    fn changed(&mut self, client_id: &str, current: Option<&str>, now: u64) {
        let mut clients = self.clients.iter_mut();
        if let Some(client) = clients.find(|client| client.id == client_id) {
            client.current = current.map(str::to_owned);
            client.uat = if current.is_some() { now / 1000 } else { 0 };
            client.updated_at = now;
        }
    }
}

impl Session {
    /// How many minutes ago the person signed in.
    pub(super) fn minutes(&self, now: u64) -> u64 {
        now.saturating_sub(self.created_at) / 60_000
    }

    /// The session as it stands at a time: a live one expires in the end.
    fn at(&self, now: u64) -> Self {
        let mut session = self.clone();
        if self.status.is_live() && now >= self.created_at + SESSION_LIFETIME {
            session.status = Status::Expired;
        }
        session
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::devices::{SEED_ADDRESS, SEED_BROWSER};
    use crate::standin::people::seed_people;

    fn activity() -> Activity {
        Activity::of(SEED_BROWSER, SEED_ADDRESS)
    }

    #[test]
    fn ending_the_newest_session_brings_the_older_one_back() {
        let people = seed_people();
        let (mut state, now) = (State::default(), 5_000);
        let client = state.client_or_new(None, now);
        let first = state.sign_in(&client.id, &people[0], activity(), now);
        let second = state.sign_in(&client.id, &people[1], activity(), now);
        let client = state.client(&client.id).expect("a client");
        assert_eq!(client.current, Some(second.id.clone()));

        state.end(&second.id, Status::Revoked, 9_000);
        let client = state.client(&client.id).expect("a client");
        assert_eq!((client.current, client.uat), (Some(first.id.clone()), 9));

        state.end(&first.id, Status::Ended, 11_000);
        let client = state.client(&client.id).expect("a client");
        assert_eq!((client.current, client.uat), (None, 0));
    }

    #[test]
    fn a_session_expires_after_seven_days() {
        let people = seed_people();
        let mut state = State::default();
        let client = state.client_or_new(None, 0);
        let id = state.sign_in(&client.id, &people[0], activity(), 0).id;
        let status = |now| state.session(&id, now).map(|session| session.status);
        assert_eq!(status(SESSION_LIFETIME - 1), Some(Status::Active));
        assert_eq!(status(SESSION_LIFETIME), Some(Status::Expired));
    }

    #[test]
    fn a_payload_is_taken_once_and_in_time() {
        let mut state = State::default();
        let nonce = state.keep_payload(vec!["a=1".to_owned()], 0);
        assert_eq!(state.take_payload(&nonce, 1), Some(vec!["a=1".to_owned()]));
        assert_eq!(state.take_payload(&nonce, 1), None);
        let nonce = state.keep_payload(Vec::new(), 0);
        assert_eq!(state.take_payload(&nonce, NONCE_LIFETIME), None);
    }

    #[test]
    fn an_unknown_dev_browser_is_not_adopted() {
        let mut state = State::default();
        let client = state.client_or_new(Some("dvb_chosen_by_somebody"), 0);
        assert_ne!(client.dev_browser, "dvb_chosen_by_somebody");
    }
}
