//! The account portal: pages on which one picks whom to be. No password, no script.

use askama::Template;
use http::{Method, StatusCode};

use super::answer::{self, Answer};
use super::call::Call;
use super::instance::Instance;
use super::oauth;
use super::state::{Session, Status};
use super::visit::{Carried, Refusal, Shown, Visit};

pub(super) const STYLE: &str = include_str!("../../templates/standin/style.css");
pub(super) const ICON: &str = include_str!("../../templates/standin/icon.svg");

/// Answers a call for one of the portal's pages or forms.
pub(super) fn answer(instance: &Instance, call: &Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, ["style.css"]) => asset("text/css; charset=utf-8", STYLE),
        (&Method::GET, ["favicon.ico"]) => asset("image/svg+xml", ICON),
        (&Method::GET, _) => Visit::by_link(instance, call).map_or_else(
            |refusal| refused(instance, refusal),
            |visit| match path {
                ["" | "sign-in"] => people(&visit, "Sign in"),
                ["sign-up"] => people(&visit, "Sign up"),
                ["user"] => user(&visit),
                ["oauth", "authorize"] => oauth::authorize(&visit),
                ["sign-in", "choose"] => choose(&visit),
                ["sign-in", "tasks"] | ["sign-in", "tasks", "choose-organization"] => tasks(&visit),
                _ => problem(instance, StatusCode::NOT_FOUND, "There is no such page"),
            },
        ),
        (&Method::POST, _) => Visit::by_form(instance, call).map_or_else(
            |refusal| refused(instance, refusal),
            |visit| match path {
                ["sign-in" | "sign-up"] => sign_in(&visit),
                ["sign-out"] => sign_out(&visit),
                ["oauth", "authorize"] => oauth::authorized(&visit),
                ["sign-in", "choose"] => chosen(&visit),
                ["sign-in", "tasks"] => task_done(&visit),
                _ => problem(instance, StatusCode::NOT_FOUND, "There is no such form"),
            },
        ),
        _ => problem(
            instance,
            StatusCode::METHOD_NOT_ALLOWED,
            "Only GET and POST are understood here",
        ),
    }
}

/// A file that the pages refer to.
pub(super) fn asset(content_type: &'static str, body: &str) -> Answer {
    answer::text(StatusCode::OK, content_type, body.to_owned())
}

#[derive(Template)]
#[template(path = "standin/sign_in.html")]
struct SignInPage {
    title: &'static str,
    carried: Carried,
    people: Vec<Shown>,
    current: Option<Shown>,
}

fn people(visit: &Visit<'_>, title: &'static str) -> Answer {
    let current = visit.current().map(|session| session.id);
    let sessions = visit.sessions();
    let current = sessions
        .iter()
        .find(|(session, _)| current.as_ref() == Some(&session.id));
    visit.page(&SignInPage {
        title,
        carried: visit.carried(),
        people: visit
            .instance
            .options
            .people
            .iter()
            .map(Shown::person)
            .collect(),
        current: current.map(Shown::session),
    })
}

fn sign_in(visit: &Visit<'_>) -> Answer {
    let asked = visit.call.field("person").unwrap_or_default();
    let Some(person) = visit.instance.person(&asked) else {
        return problem(
            visit.instance,
            StatusCode::UNPROCESSABLE_ENTITY,
            "There is no such person",
        );
    };
    if visit.instance.state().is_banned(&person.user_id) {
        let title = "This person is banned";
        return problem(visit.instance, StatusCode::FORBIDDEN, title);
    }
    let now = visit.instance.now();
    let (client, session) = {
        let mut state = visit.instance.state();
        let dev_browser = visit.client.as_ref().map(|client| &*client.dev_browser);
        let client = state.client_or_new(dev_browser, now);
        let session = state.sign_in(&client.id, person, visit.call.activity(), now);
        (client, session)
    };
    match session.status {
        Status::Pending => {
            let carried = Carried {
                dev_browser: client.dev_browser,
                ..visit.carried()
            };
            let tasks = format!("/sign-in/tasks?{}", carried.query());
            answer::redirect(StatusCode::SEE_OTHER, &tasks)
        }
        _ => visit.onwards(&client, "/user"),
    }
}

#[derive(Template)]
#[template(path = "standin/user.html")]
struct UserPage {
    title: &'static str,
    carried: Carried,
    current: Option<Shown>,
    has_others: bool,
}

fn user(visit: &Visit<'_>) -> Answer {
    let current = visit.current().map(|session| session.id);
    let sessions = visit.sessions();
    let shown = sessions
        .iter()
        .find(|(session, _)| current.as_ref() == Some(&session.id));
    visit.page(&UserPage {
        title: "Your account",
        carried: visit.carried(),
        current: shown.map(Shown::session),
        has_others: sessions.len() > 1,
    })
}

fn sign_out(visit: &Visit<'_>) -> Answer {
    let Some(client) = &visit.client else {
        return answer::redirect(StatusCode::SEE_OTHER, "/sign-in");
    };
    let ended: Vec<Session> = match visit.call.field("session_id") {
        Some(_) => visit.named_session().into_iter().collect(),
        None => visit.sessions().into_iter().map(|(held, _)| held).collect(),
    };
    for session in ended {
        visit.instance.end(&session.id, Status::Ended);
    }
    visit.onwards(client, "/user")
}

#[derive(Template)]
#[template(path = "standin/choose.html")]
struct ChoosePage {
    title: &'static str,
    carried: Carried,
    sessions: Vec<Shown>,
}

fn choose(visit: &Visit<'_>) -> Answer {
    visit.page(&ChoosePage {
        title: "Choose an account",
        carried: visit.carried(),
        sessions: visit.sessions().iter().map(Shown::session).collect(),
    })
}

fn chosen(visit: &Visit<'_>) -> Answer {
    match (&visit.client, visit.named_session()) {
        (Some(client), Some(session)) => {
            let now = visit.instance.now();
            visit.instance.state().choose(&session.id, now);
            visit.onwards(client, "/user")
        }
        _ => no_session(visit.instance),
    }
}

#[derive(Template)]
#[template(path = "standin/tasks.html")]
struct TasksPage {
    title: &'static str,
    carried: Carried,
    session_id: String,
    organizations: Vec<(String, String)>,
    later: Option<String>,
}

fn tasks(visit: &Visit<'_>) -> Answer {
    let mut sessions = visit.sessions().into_iter();
    let pending = sessions.find(|(session, _)| session.status == Status::Pending);
    let (Some((session, person)), Some(client)) = (pending, &visit.client) else {
        return no_session(visit.instance);
    };
    let organizations = person.memberships.iter().map(|held| {
        let organization = &held.organization;
        (organization.id.clone(), organization.name.clone())
    });
    let later = visit.return_to.as_ref();
    visit.page(&TasksPage {
        title: "Choose an organisation",
        carried: visit.carried(),
        session_id: session.id,
        organizations: organizations.collect(),
        later: later.map(|there| there.with("__clerk_db_jwt", &client.dev_browser)),
    })
}

fn task_done(visit: &Visit<'_>) -> Answer {
    let instance = visit.instance;
    let (Some(client), Some(session)) = (&visit.client, visit.named_session()) else {
        return no_session(instance);
    };
    let asked = visit.call.field("organization_id").unwrap_or_default();
    let person = instance.person(&session.user_id);
    let Some(held) = person.and_then(|person| person.membership(&asked)) else {
        return problem(
            instance,
            StatusCode::UNPROCESSABLE_ENTITY,
            "There is no such organisation to choose",
        );
    };
    let now = instance.now();
    let mut state = instance.state();
    state.activate(&session.id, Some(&held.organization.id), now);
    state.choose(&session.id, now);
    drop(state);
    visit.onwards(client, "/user")
}

fn refused(instance: &Instance, refusal: Refusal) -> Answer {
    let (status, title) = match refusal {
        Refusal::ForeignForm => (StatusCode::FORBIDDEN, "This form was sent by another site"),
        Refusal::ForeignAddress => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The address to return to is not on an allowed origin",
        ),
    };
    problem(instance, status, title)
}

fn no_session(instance: &Instance) -> Answer {
    problem(
        instance,
        StatusCode::NOT_FOUND,
        "This browser has no such session",
    )
}

#[derive(Template)]
#[template(path = "standin/problem.html")]
struct ProblemPage {
    title: &'static str,
}

/// A page that says what went wrong.
pub(super) fn problem(instance: &Instance, status: StatusCode, title: &'static str) -> Answer {
    let sources = instance.origins.form_sources();
    answer::page(status, &ProblemPage { title }, &sources)
}
