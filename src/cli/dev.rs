//! `clerk-gate dev`: everything on this machine, without an account.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::run;
use super::{Ending, colour, complain, hand_out};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Environment, FlagValue, Loaded, Source, Surroundings};
use crate::core::origin::Origin;
use crate::standin::{
    ClerkJs, Person, SampleApp, SessionStart, StandIn, StandInOptions, seed_people,
};

#[derive(Args, Debug)]
pub(super) struct Dev {
    /// An application of yours, instead of the sample
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where the gate accepts requests: an address of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// An installed package `@clerk/clerk-js`, for browsers to load from the gate
    #[arg(long, value_name = "FOLDER")]
    clerk_js: Option<PathBuf>,
    /// How long session tokens are good for
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    token_lifetime: u64,
    /// Give browsers no refresh token, as Clerk gives none to some
    #[arg(long)]
    no_refresh_tokens: bool,
    /// Where the stand-in sends its events, instead of the gate: an `http` address of this machine
    #[arg(long, value_name = "URL")]
    events_to: Option<String>,
    /// Print one line of JSON when all is ready, instead of an introduction
    #[arg(long)]
    json: bool,
}

/// What runs besides the gate; it ends when this is dropped.
struct Company {
    clerk: StandIn,
    app: Option<SampleApp>,
}

/// Starts a stand-in, a sample application and the gate, and says what to open.
pub(super) async fn dev(dev: &Dev, environment: &Environment) -> Ending {
    if let Err(ending) = refuse_what_is_not_for_play(dev, environment) {
        return ending;
    }
    let clerk_js = match clerk_js(dev) {
        Ok(clerk_js) => clerk_js,
        Err(ending) => return ending,
    };
    let company = match start_company(dev, clerk_js).await {
        Ok(company) => company,
        Err(error) => {
            complain(&format!("cannot start the stand-in: {error}"), None);
            return Ending::Failed;
        }
    };
    let upstream = match (&dev.upstream, &company.app) {
        (Some(url), _) => url.clone(),
        (None, Some(app)) => app.url(),
        (None, None) => String::new(),
    };
    let policy = policy(dev, &company, &upstream);
    let config = match load(&policy, &company.clerk, environment) {
        Ok(loaded) => loaded.config,
        Err(ending) => return ending,
    };
    run::start_logging(&config, environment);
    let bound = match run::bind(&config).await {
        Ok(bound) => bound,
        Err(ending) => return ending,
    };
    let Some(address) = bound.address() else {
        return Ending::Failed;
    };
    let webhook = format!("http://{address}{}webhooks/clerk", config.pages_prefix);
    let events_to = dev.events_to.as_ref().unwrap_or(&webhook);
    if let Err(error) = company.clerk.send_events_to(events_to) {
        complain(
            &format!("the stand-in cannot send its events: {error}"),
            None,
        );
        return Ending::Misused;
    }
    let ready = Ready {
        // Not 127.0.0.1: cookies ignore ports, and the stand-in's must stay its own.
        gate: format!("http://localhost:{}", address.port()),
        admin: bound
            .admin_address()
            .map(|address| format!("http://{address}")),
        clerk: &company.clerk,
        upstream: &upstream,
        policy: &policy,
        sample: company.app.is_some(),
        scripts: dev.clerk_js.is_some(),
    };
    let text = if dev.json {
        format!("{}\n", ready.json())
    } else {
        ready.introduction()
    };
    if hand_out(text.as_bytes()) == Ending::Failed {
        return Ending::Failed;
    }
    run::serve(bound).await
}

/// Anybody who reaches the stand-in can be anyone: it stays on this machine, and away from live keys.
fn refuse_what_is_not_for_play(dev: &Dev, environment: &Environment) -> Result<(), Ending> {
    if !dev.listen.ip().is_loopback() {
        complain(
            &format!("`dev` stays on this machine, and `{}` does not", dev.listen),
            Some(
                "use an address such as `127.0.0.1:8080`; for others to reach it, there is `clerk-gate run`",
            ),
        );
        return Err(Ending::Misused);
    }
    let live = environment
        .iter()
        .find(|(_, value)| value.starts_with("sk_live_") || value.starts_with("pk_live_"));
    if let Some((name, _)) = live {
        complain(
            &format!("`dev` does not start beside live keys, and `{name}` holds one"),
            Some(&format!("take it away: `env -u {name} clerk-gate dev`")),
        );
        return Err(Ending::Misused);
    }
    if let Some(url) = &dev.upstream
        && Origin::parse(url).is_none()
    {
        complain(
            &format!("`--upstream {url}` is no address such as `http://127.0.0.1:3000`"),
            None,
        );
        return Err(Ending::Misused);
    }
    Ok(())
}

fn clerk_js(dev: &Dev) -> Result<Option<ClerkJs>, Ending> {
    let Some(folder) = &dev.clerk_js else {
        return Ok(None);
    };
    ClerkJs::read(folder).map(Some).map_err(|error| {
        complain(
            &format!("cannot read `--clerk-js {}`: {error}", folder.display()),
            Some("`npm install @clerk/clerk-js` makes `node_modules/@clerk/clerk-js`"),
        );
        Ending::Misused
    })
}

async fn start_company(dev: &Dev, clerk_js: Option<ClerkJs>) -> std::io::Result<Company> {
    let clock = SystemClock;
    let mut options = StandInOptions::new(Arc::new(move || clock.now_ms()));
    options.token_lifetime = Duration::from_secs(dev.token_lifetime);
    options.refresh_tokens = !dev.no_refresh_tokens;
    options.clerk_js = clerk_js;
    let clerk = StandIn::start(options).await?;
    let app = match dev.upstream {
        Some(_) => None,
        None => Some(SampleApp::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?),
    };
    Ok(Company { clerk, app })
}

/// The configuration of the gate, as it is shown: the secrets are handed over beside it.
fn policy(dev: &Dev, company: &Company, upstream: &str) -> String {
    let Company { clerk, app } = company;
    let listen = dev.listen;
    let url = clerk.url();
    let sign_in = clerk.sign_in_url();
    let key = clerk.publishable_key();
    let routes = match app {
        Some(_) => SAMPLE_ROUTES,
        None => USUAL_ROUTES,
    };
    let proxy = match dev.clerk_js {
        Some(_) => {
            format!("\n[clerk.frontend-api-proxy]\nenabled = true\nurl     = \"{url}\"\n")
        }
        None => String::new(),
    };
    format!(
        r#"listen = "{listen}"

[clerk]
publishable-key  = "{key}"
api-url          = "{url}"
api-budget       = 1000
frontend-api-url = "{url}"
sign-in-url      = "{sign_in}"
sign-up-url      = "{sign_in}"
{proxy}
[upstream]
url = "{upstream}"

[admin]
listen = "127.0.0.1:0"

[log]
format = "human"
{routes}"#
    )
}

const SAMPLE_ROUTES: &str = r#"
[[route]]
name         = "static"
path         = ["/favicon.ico", "/style.css"]
require      = "public"
authenticate = false

[[route]]
name    = "home"
path    = ["/", "/api/public/**"]
require = "public"

[[route]]
name    = "admin"
path    = "/admin/**"
require = "org:admin"

[[route]]
name    = "members"
path    = ["/members/**", "/form", "/headers", "/api/**"]
require = "signed-in"
"#;

const USUAL_ROUTES: &str = r#"
[[route]]
name    = "home"
path    = "/"
require = "public"

[[route]]
name    = "admin"
path    = "/admin/**"
require = "org:admin"

[[route]]
name    = "everything"
path    = "/**"
require = "signed-in"
"#;

fn load(policy: &str, clerk: &StandIn, environment: &Environment) -> Result<Loaded, Ending> {
    let source = Source::new("the policy of `dev`", policy);
    let surroundings = Surroundings {
        // Settings of the surroundings are for `run`: here everything is as printed.
        environment: &Vec::new(),
        flags: &[
            FlagValue {
                path: &["clerk", "secret-key"],
                flag: "the stand-in",
                value: clerk.secret_key().to_owned(),
            },
            FlagValue {
                path: &["webhooks", "secret"],
                flag: "the stand-in",
                value: clerk.webhook_secret().to_owned(),
            },
        ],
        files: &|path| std::fs::read(path),
        now_ms: SystemClock.now_ms(),
    };
    config::load(&source, &surroundings).map_err(|report| {
        eprintln!("{}", report.render(colour(environment)));
        Ending::Misused
    })
}

/// What is running, to be told.
struct Ready<'d> {
    gate: String,
    admin: Option<String>,
    clerk: &'d StandIn,
    upstream: &'d str,
    policy: &'d str,
    sample: bool,
    scripts: bool,
}

impl Ready<'_> {
    fn json(&self) -> serde_json::Value {
        json!({
            "gate": self.gate,
            "clerk": self.clerk.url(),
            "app": self.upstream,
            "admin": self.admin,
            "publishable_key": self.clerk.publishable_key(),
            "secret_key": self.clerk.secret_key(),
            "webhook_secret": self.clerk.webhook_secret(),
        })
    }

    fn introduction(&self) -> String {
        let Self {
            gate,
            clerk,
            upstream,
            policy,
            ..
        } = self;
        let what = if self.sample {
            "a sample application"
        } else {
            "your application"
        };
        let script = if self.scripts {
            format!(
                "\nClerk's script for your pages, to be followed by `Clerk.load()`:\n\n  <script src=\"/__clerk/npm/@clerk/clerk-js@6/dist/clerk.browser.js\"\n    data-clerk-publishable-key=\"{}\" data-clerk-proxy-url=\"/__clerk\"></script>\n",
                clerk.publishable_key()
            )
        } else {
            String::new()
        };
        let people: String = seed_people().iter().map(described).collect();
        let pages = if self.sample {
            format!(
                "  {gate}/members      for everybody who is signed in\n  {gate}/admin        for admins of the organisation\n  {gate}/api/whoami   JSON: try it with curl\n"
            )
        } else {
            format!(
                "  {gate}/admin        for admins of the organisation, the rest for everybody signed in\n"
            )
        };
        format!(
            "\
Open {gate} and sign in. All of it runs on this machine, and ends with Ctrl-C.

  the gate               {gate}
  a stand-in for Clerk   {clerk}
  {what:<20}   {upstream}, without the gate

Pages to try:

{pages}{script}
People to be:

{people}
The policy of this gate:

{policy}
",
            clerk = clerk.url(),
            policy = indented(policy),
        )
    }
}

fn described(person: &Person) -> String {
    let place = match person.memberships.first() {
        Some(membership) => format!("{} of {}", membership.role, membership.organization.name),
        None => "without an organisation".to_owned(),
    };
    let pending = match person.start {
        SessionStart::Active => "",
        SessionStart::Pending => ", who has to choose an organisation first",
    };
    format!("  {:<12} {place}{pending}\n", person.name())
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("  {line}")
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}
