//! One step of somebody's way through the portal, and how its pages show people.

use askama::Template;
use http::StatusCode;
use http::header::{HOST, ORIGIN};
use url::form_urlencoded;

use super::answer::{self, Answer};
use super::call::Call;
use super::instance::Instance;
use super::people::{Person, SessionStart};
use super::redirect::ReturnTo;
use super::state::{Client, Session, Status};

/// One step of somebody's way through the portal: where they go next, and which browser they use.
pub(super) struct Visit<'a> {
    pub(super) instance: &'a Instance,
    pub(super) call: &'a Call,
    pub(super) return_to: Option<ReturnTo>,
    pub(super) client: Option<Client>,
}

/// Why a visit may not go on.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// The form was sent by another site.
    ForeignForm,
    /// The address to return to is not on an allowed origin.
    ForeignAddress,
}

/// What each form and link of a page carries on.
pub(super) struct Carried {
    pub(super) redirect_url: String,
    pub(super) dev_browser: String,
}

impl Carried {
    /// The same as a query.
    pub(super) fn query(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("redirect_url", &self.redirect_url)
            .append_pair("__clerk_db_jwt", &self.dev_browser)
            .finish()
    }
}

impl<'a> Visit<'a> {
    pub(super) fn by_link(instance: &'a Instance, call: &'a Call) -> Result<Self, Refusal> {
        Self::new(
            instance,
            call,
            call.param("redirect_url"),
            call.param("__clerk_db_jwt"),
        )
    }

    // SECURITY: another site's form could sign somebody in or out here; browsers name its origin.
    pub(super) fn by_form(instance: &'a Instance, call: &'a Call) -> Result<Self, Refusal> {
        let own = call
            .header(HOST.as_str())
            .map(|host| format!("http://{host}"))
            .unwrap_or_default();
        if call
            .header(ORIGIN.as_str())
            .is_some_and(|origin| origin != own)
        {
            return Err(Refusal::ForeignForm);
        }
        let (redirect_url, dev_browser) =
            (call.field("redirect_url"), call.field("__clerk_db_jwt"));
        Self::new(
            instance,
            call,
            redirect_url.as_deref(),
            dev_browser.as_deref(),
        )
    }

    fn new(
        instance: &'a Instance,
        call: &'a Call,
        redirect_url: Option<&str>,
        dev_browser: Option<&str>,
    ) -> Result<Self, Refusal> {
        let return_to = match redirect_url {
            None => None,
            Some(address) => Some(
                instance
                    .origins
                    .check(address)
                    .ok_or(Refusal::ForeignAddress)?,
            ),
        };
        Ok(Self {
            instance,
            call,
            return_to,
            client: dev_browser.and_then(|token| instance.state().client_of(token)),
        })
    }

    pub(super) fn carried(&self) -> Carried {
        let client = self.client.as_ref();
        let return_to = self.return_to.as_ref();
        Carried {
            redirect_url: return_to.map_or_else(String::new, |there| there.as_str().to_owned()),
            dev_browser: client.map_or_else(String::new, |client| client.dev_browser.clone()),
        }
    }

    pub(super) fn current(&self) -> Option<Session> {
        let state = self.instance.state();
        state.current(self.client.as_ref()?, self.instance.now())
    }

    /// The live sessions of this browser with their people, newest first.
    pub(super) fn sessions(&self) -> Vec<(Session, &'a Person)> {
        let Some(client) = &self.client else {
            return Vec::new();
        };
        let sessions = self
            .instance
            .state()
            .live_sessions(&client.id, self.instance.now());
        let known = |session: Session| {
            let person = self.instance.person(&session.user_id)?;
            Some((session, person))
        };
        sessions.into_iter().filter_map(known).collect()
    }

    /// The live session of this browser that the form names.
    pub(super) fn named_session(&self) -> Option<Session> {
        let id = self.call.field("session_id")?;
        let mut sessions = self.sessions().into_iter();
        sessions
            .find(|(session, _)| session.id == id)
            .map(|(session, _)| session)
    }

    /// Back to where the visit came from; without that, to a page of ours.
    pub(super) fn onwards(&self, client: &Client, otherwise: &str) -> Answer {
        let location = match &self.return_to {
            Some(there) => there.with("__clerk_db_jwt", &client.dev_browser),
            None => format!("{otherwise}?__clerk_db_jwt={}", client.dev_browser),
        };
        answer::redirect(StatusCode::SEE_OTHER, &location)
    }

    pub(super) fn page(&self, template: &impl Template) -> Answer {
        answer::page(
            StatusCode::OK,
            template,
            &self.instance.origins.form_sources(),
        )
    }
}

/// Somebody as a page shows them.
pub(super) struct Shown {
    pub(super) key: String,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) initials: String,
    pub(super) place: String,
    pub(super) session_id: String,
}

impl Shown {
    pub(super) fn person(person: &Person) -> Self {
        let place = match person.memberships.first() {
            None => "No organisation".to_owned(),
            Some(first) => {
                let role = first.role.strip_prefix("org:").unwrap_or(&first.role);
                format!("{} · {role}", first.organization.name)
            }
        };
        let names = [&person.first_name, &person.last_name];
        Self {
            key: person.key.clone(),
            name: person.name(),
            email: person.email.clone(),
            initials: names
                .iter()
                .filter_map(|name| name.chars().next())
                .collect(),
            place: match person.start {
                SessionStart::Active => place,
                SessionStart::Pending => format!("{place}, once chosen"),
            },
            session_id: String::new(),
        }
    }

    pub(super) fn session((session, person): &(Session, &Person)) -> Self {
        let active = session.organization_id.as_deref();
        let membership = active.and_then(|id| person.membership(id));
        let place = match (session.status, membership) {
            (Status::Pending, _) => "Has yet to choose an organisation".to_owned(),
            (_, None) => "No active organisation".to_owned(),
            (_, Some(held)) => {
                let role = held.role.strip_prefix("org:").unwrap_or(&held.role);
                format!("{} · {role}", held.organization.name)
            }
        };
        Self {
            place,
            session_id: session.id.clone(),
            ..Self::person(person)
        }
    }
}
