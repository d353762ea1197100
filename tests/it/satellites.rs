//! A primary and a satellite of one instance behind one gate, walked by a browser: development by
//! way of the primary, production by way of Clerk, as far as the stand-in can play that.

use std::io;
use std::path::Path;

use clerk_gate::config::{self, Config, Source, Surroundings};
use clerk_gate::core::instance::IssuerRule;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, TestSession};
use http::StatusCode;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::support::browser::Browser;
use crate::support::pure::{LIVE, TEST};
use crate::support::{NOW_MS, World, route, usual_routes};

/// What `text` says of sites and instances, with the port and upstream of a test.
fn take(config: &mut Config, text: &str) {
    let none = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let surroundings = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &none,
        now_ms: NOW_MS,
    };
    let text = format!("upstream.url = \"http://127.0.0.1:9\"\n{text}");
    let loaded = config::load(&Source::new("sites", text), &surroundings).unwrap();
    let Config {
        clerk, sites, edge, ..
    } = loaded.config;
    (config.clerk, config.sites, config.edge) = (clerk, sites, edge);
}

fn builder() -> crate::support::WorldBuilder {
    let mut routes = usual_routes();
    routes.push(route("sign-in", &["/sign-in"], Requirement::Public));
    World::with(routes)
}

const APP: &str = "app.localhost";
const DOCS: &str = "docs.localhost";
const LOCAL: &[&str] = &[APP, DOCS];

/// A primary and a satellite with a test key, configured as in a file.
async fn development(auto_sync: bool) -> World {
    builder()
        .configure(move |config| {
            let clerk = &config.clerk;
            let text = format!(
                r#"
                public-url = "http://{APP}"
                [clerk]
                publishable-key  = "{key}"
                secret-key       = "{secret}"
                api-url          = "{url}"
                frontend-api-url = "{url}"
                sign-in-url      = "/sign-in"
                [[site]]
                host       = "{DOCS}"
                public-url = "http://{DOCS}"
                [site.clerk]
                is-satellite        = true
                satellite-auto-sync = {auto_sync}
                domain              = "{DOCS}"
                sign-in-url         = "http://{APP}/sign-in"
                [[route]]
                path    = "/sign-in"
                require = "public"
                "#,
                key = clerk.instance.key.as_str(),
                secret = clerk.secret_key.as_ref().unwrap().expose_secret(),
                url = clerk.instance.frontend_api,
            );
            take(config, &text);
        })
        .start()
        .await
}

const PRIMARY: &str = "app.example.com";
const SATELLITE: &str = "docs.example";
const PUBLIC: &[&str] = &[PRIMARY, SATELLITE];

/// The same with a live key. The stand-in plays the Frontend APIs of both domains on its one host.
async fn production(auto_sync: bool) -> World {
    builder()
        .clerk(|options| {
            let origins = [PRIMARY, SATELLITE].map(|host| format!("https://{host}"));
            options.allowed_redirect_origins = Some(origins.to_vec());
        })
        .configure(move |config| {
            let real = config.clerk.clone();
            let text = format!(
                r#"
                public-url = "https://{PRIMARY}"
                [clerk]
                publishable-key = "{LIVE}"
                sign-in-url     = "/sign-in"
                [[site]]
                host       = "{SATELLITE}"
                public-url = "https://{SATELLITE}"
                [site.clerk]
                is-satellite        = true
                satellite-auto-sync = {auto_sync}
                domain              = "{SATELLITE}"
                sign-in-url         = "https://{PRIMARY}/sign-in"
                [[route]]
                path    = "/sign-in"
                require = "public"
                "#
            );
            take(config, &text);
            let satellite = &config.sites[0].instance;
            assert_eq!(satellite.frontend_api, format!("https://clerk.{SATELLITE}"));
            assert_eq!(
                satellite.issuer,
                IssuerRule::OneOf(vec![
                    "https://clerk.example.com".to_owned(),
                    format!("https://clerk.{SATELLITE}")
                ])
            );
            for clerk in [&mut config.clerk, &mut config.sites[0]] {
                clerk.keys = real.keys.clone();
                clerk.api_url = real.api_url.clone();
                clerk.secret_key.clone_from(&real.secret_key);
                let instance = &mut clerk.instance;
                instance
                    .frontend_api
                    .clone_from(&real.instance.frontend_api);
                instance
                    .own_issuer_host
                    .clone_from(&real.instance.own_issuer_host);
                instance.issuer.clone_from(&real.instance.issuer);
            }
        })
        .start()
        .await
}

/// A browser in which somebody is signed in at the primary, and nowhere else.
fn signed_in_at<'w>(
    world: &'w World,
    primary: &str,
    hosts: &'static [&'static str],
) -> (Browser<'w>, TestSession) {
    let ada = world.clerk.sign_in("ada", None);
    let mut browser = Browser::new(world, hosts);
    browser.keep(primary, "__session", &ada.token);
    browser.keep(primary, "__client_uat", ada.client_uat);
    if primary == APP {
        browser.keep(primary, "__clerk_db_jwt", &ada.dev_browser);
    } else {
        browser.keep("127.0.0.1", "__client", &ada.client);
    }
    (browser, ada)
}

/// What the satellite's application got, once and in the end.
#[track_caller]
fn assert_arrived(world: &World, host: &str, user: &str) {
    let received = world.upstream.only();
    assert_eq!(received.target, "/members?tab=1");
    assert_eq!(received.header("host").as_deref(), Some(host));
    assert_eq!(received.header("x-user-id").as_deref(), Some(user));
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_first_visit_to_a_satellite_for_development_goes_by_way_of_its_primary() {
    let world = development(true).await;
    let (mut browser, ada) = signed_in_at(&world, APP, LOCAL);
    let answer = browser.visit(&format!("http://{DOCS}/members?tab=1")).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{:?} {answer:?}",
        browser.hops
    );
    assert_eq!(
        browser.hops,
        [
            "docs.localhost/members",
            "app.localhost/sign-in",
            "docs.localhost/members",
            "127.0.0.1/v1/client/handshake",
            "docs.localhost/members",
            "docs.localhost/members",
        ]
    );
    assert_eq!(
        parameter(&browser.at, "__clerk_synced").as_deref(),
        Some("true")
    );
    assert_arrived(&world, DOCS, &ada.user_id);
    // From now on the satellite has cookies of its own.
    assert!(browser.cookie(DOCS, "__session").is_some());
    world.upstream.take_received();
    browser.visit(&format!("http://{DOCS}/members?tab=1")).await;
    assert_eq!(browser.hops, ["docs.localhost/members"]);
    assert_arrived(&world, DOCS, &ada.user_id);
}

#[tokio::test]
async fn without_auto_sync_a_satellite_asks_its_primary_only_after_a_sign_in() {
    let world = development(false).await;
    let (mut browser, ada) = signed_in_at(&world, APP, LOCAL);
    let answer = browser.visit(&format!("http://{DOCS}/public/x")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(browser.hops, ["docs.localhost/public/x"]);
    world.upstream.take_received();
    // Nobody is known there, so the way leads to the primary's own page.
    browser.visit(&format!("http://{DOCS}/members?tab=1")).await;
    assert_eq!(
        browser.hops,
        ["docs.localhost/members", "app.localhost/sign-in"]
    );
    let received = world.upstream.take_received();
    assert!(
        received
            .iter()
            .all(|page| page.target.starts_with("/sign-in?")),
        "{received:?}"
    );
    let back = parameter(&browser.at, "redirect_url").unwrap();
    assert_eq!(
        back,
        format!("http://{DOCS}/members?tab=1&__clerk_synced=false")
    );
    let answer = browser.visit(&back).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{:?} {answer:?}",
        browser.hops
    );
    assert_eq!(browser.hops[1], "app.localhost/sign-in");
    assert_arrived(&world, DOCS, &ada.user_id);
}

#[tokio::test]
async fn somebody_who_is_signed_out_everywhere_ends_at_the_sign_in_page() {
    let world = development(true).await;
    let mut browser = Browser::new(&world, LOCAL);
    let answer = browser.visit(&format!("http://{DOCS}/members?tab=1")).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{:?} {answer:?}",
        browser.hops
    );
    let at = Url::parse(&browser.at).unwrap();
    assert_eq!((at.host_str(), at.path()), (Some(APP), "/sign-in"));
    assert_eq!(
        parameter(&browser.at, "redirect_url").as_deref(),
        Some("http://docs.localhost/members?tab=1&__clerk_synced=false")
    );
    let received = world.upstream.only();
    assert_eq!(received.header("host").as_deref(), Some(APP));
    assert_eq!(received.header("x-user-id"), None);
}

#[tokio::test]
async fn a_primary_syncs_once_with_a_page_load_that_comes_from_its_satellite() {
    let world = development(true).await;
    let (mut browser, ada) = signed_in_at(&world, APP, LOCAL);
    let page = format!("http://{APP}/members?tab=1");
    let answer = browser.follow(&format!("http://{DOCS}/x"), &page).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{:?} {answer:?}",
        browser.hops
    );
    assert_eq!(
        browser.hops,
        [
            "app.localhost/members",
            "127.0.0.1/v1/client/handshake",
            "app.localhost/members",
            "app.localhost/members",
        ]
    );
    assert_arrived(&world, APP, &ada.user_id);
    world.upstream.take_received();
    browser.follow(&format!("http://{APP}/x"), &page).await;
    assert_eq!(browser.hops, ["app.localhost/members"]);
    assert_arrived(&world, APP, &ada.user_id);
}

#[tokio::test]
async fn a_first_visit_to_a_satellite_in_production_goes_by_way_of_clerk() {
    let world = production(true).await;
    let (mut browser, ada) = signed_in_at(&world, PRIMARY, PUBLIC);
    let page = format!("https://{SATELLITE}/members?tab=1");
    let answer = browser.visit(&page).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{:?} {answer:?}",
        browser.hops
    );
    assert_eq!(
        browser.hops,
        [
            "docs.example/members",
            "127.0.0.1/v1/client/handshake",
            "docs.example/members",
            "docs.example/members",
        ]
    );
    assert_arrived(&world, SATELLITE, &ada.user_id);
}

#[tokio::test]
async fn without_auto_sync_a_satellite_in_production_asks_clerk_only_after_a_sign_in() {
    let world = production(false).await;
    let (mut browser, ada) = signed_in_at(&world, PRIMARY, PUBLIC);
    let page = format!("https://{SATELLITE}/members?tab=1");
    browser.visit(&page).await;
    assert_eq!(
        browser.hops,
        ["docs.example/members", "app.example.com/sign-in"]
    );
    assert_eq!(world.clerk.calls(Endpoint::Handshake), 0);
    world.upstream.take_received();
    let back = parameter(&browser.at, "redirect_url").unwrap();
    assert_eq!(back, format!("{page}&__clerk_synced=false"));
    let answer = browser.visit(&back).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{:?} {answer:?}",
        browser.hops
    );
    assert_eq!(world.clerk.calls(Endpoint::Handshake), 1);
    assert_eq!(
        parameter(&browser.at, "__clerk_synced").as_deref(),
        Some("true")
    );
    assert_arrived(&world, SATELLITE, &ada.user_id);
}

#[tokio::test]
async fn a_satellite_in_production_asks_once_about_somebody_who_is_signed_out_everywhere() {
    let world = production(true).await;
    let mut browser = Browser::new(&world, PUBLIC);
    let page = format!("https://{SATELLITE}/members?tab=1");
    browser.visit(&page).await;
    assert_eq!(
        world.clerk.calls(Endpoint::Handshake),
        1,
        "{:?}",
        browser.hops
    );
    assert_eq!(browser.hops.last().unwrap(), "app.example.com/sign-in");
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), None);
}

/// A primary with a test key whose token for this browser is `dvb_secret`.
async fn primary(sites: &str) -> World {
    let text = format!(
        "public-url = \"https://app.example.com\"\nclerk.publishable-key = \"{TEST}\"\n{sites}"
    );
    builder()
        .configure(move |config| take(config, &text))
        .start()
        .await
}

const SITES: &str = r#"
[[site]]
host       = ["docs.example.com", "*.docs.example.com"]
public-url = "https://docs.example.com"
[site.clerk]
is-satellite = true
domain       = "docs.example.com"
sign-in-url  = "https://app.example.com/sign-in"

[[site]]
host       = "same.example.com"
public-url = "https://same.example.com"

[[site]]
host       = "shop.example.com"
public-url = "https://shop.example.com"
[site.clerk]
publishable-key = "pk_test_YmFyLWZvby0xNC5jbGVyay5hY2NvdW50cy5kZXYk"
is-satellite    = true
domain          = "shop.example.com"
sign-in-url     = "https://app.example.com/sign-in"
"#;

#[tokio::test]
async fn a_primary_for_development_answers_its_satellites_and_nobody_else() {
    let world = primary(SITES).await;
    let mut faults = Vec::new();
    for (target, answered) in [
        ("https://docs.example.com/x?y=1", true),
        ("https://a.docs.example.com/", true),
        ("https://DOCS.example.com./", true),
        ("http://localhost:3000/x", true),
        ("http://127.0.0.1:4000/", true),
        ("https://docs.example.com:8443/", false),
        ("http://docs.example.com/", false),
        ("https://docs.example.com.evil.example/", false),
        ("https://evil.example/?docs.example.com", false),
        ("https://evil.example#docs.example.com", false),
        ("https://docs.example.com@evil.example/", false),
        ("https://evil@docs.example.com/", false),
        ("https://adocs.example.com/", false),
        // A site that is no satellite, and a satellite of another instance.
        ("https://same.example.com/", false),
        ("https://shop.example.com/", false),
        ("https://app.example.com:8443/", false),
        ("https://sub.app.example.com/", false),
        ("//docs.example.com/", false),
        ("/x", false),
        ("javascript:alert(1)", false),
        ("ftp://localhost/", false),
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let answer = world
            .visit(&format!("/sign-in?__clerk_redirect_url={encoded}"))
            .header("host", "app.example.com")
            .cookie("__clerk_db_jwt=dvb_secret")
            .send()
            .await;
        let location = answer.header("location").unwrap_or_default();
        let sent = location.contains("dvb_secret");
        let right = if answered {
            let (there, asked) = (Url::parse(location), Url::parse(target).unwrap());
            there.is_ok_and(|there| there.origin() == asked.origin())
                && parameter(location, "__clerk_db_jwt").as_deref() == Some("dvb_secret")
                && parameter(location, "__clerk_synced").as_deref() == Some("true")
        } else {
            !sent && answer.status == StatusCode::OK
        };
        if !right {
            faults.push(format!("{target}: {} {location}", answer.status));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn a_primary_in_production_answers_no_satellite_itself() {
    let world = production(true).await;
    let answer = world
        .visit(&format!(
            "/sign-in?__clerk_redirect_url=https%3A%2F%2F{SATELLITE}%2F"
        ))
        .header("host", PRIMARY)
        .cookie("__clerk_db_jwt=dvb_secret")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("location"), None);
}
