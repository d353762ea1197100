//! Paths that have another beginning at the application: what it is asked for, and what it is not.

use clerk_gate::config::HostHeader;
use clerk_gate::core::door::Dialect;
use clerk_gate::core::origin::Host;
use clerk_gate::core::policy::Route;
use clerk_gate::core::prefix::{Prefix, Prefixes};
use clerk_gate::core::requirement::Requirement;
use http::{Method, Response, StatusCode};

use crate::doors;
use crate::signed_assertion::{assertion, claim};
use crate::support::protected::admins;
use crate::support::{World, WorldBuilder, cookies, route};

fn moved(route: Route, strip: Option<&str>, add: Option<&str>) -> Route {
    let prefix = |text: &str| Prefix::parse(text).unwrap();
    Route {
        prefixes: Prefixes::new(strip.map(prefix), add.map(prefix)),
        ..route
    }
}

/// `/app` is stripped, with what admins have in it; `/files` is below `/data` at the application; `/old`
/// is `/new` there.
fn world() -> WorldBuilder {
    let public = |name, path: &str| route(name, &[path], Requirement::Public);
    World::with(vec![
        moved(admins("/app/admin/**"), Some("/app"), None),
        moved(public("app", "/app/**"), Some("/app"), None),
        moved(public("files", "/files/**"), None, Some("/data")),
        moved(public("old", "/old/**"), Some("/old"), Some("/new")),
        public("same", "/same/**"),
    ])
}

#[tokio::test]
async fn the_application_is_asked_for_the_path_that_it_has() {
    let world = world().start().await;
    for (asked, arrives, prefix) in [
        ("/app", "/", Some("/app")),
        ("/app/", "/", Some("/app")),
        ("/app?q=%2Fapp", "/?q=%2Fapp", Some("/app")),
        ("/app/x/?a=1&&b", "/x/?a=1&&b", Some("/app")),
        ("/app//%61/../b%20c", "/b%20c", Some("/app")),
        ("/app/app/x", "/app/x", Some("/app")),
        ("/files/x", "/data/files/x", None),
        ("/files", "/data/files", None),
        ("/old", "/new/", Some("/old")),
        ("/old/x", "/new/x", Some("/old")),
        ("/same/x", "/same/x", None),
    ] {
        let call = world.get(asked).header("x-forwarded-prefix", "/forged");
        assert_eq!(call.send().await.status, StatusCode::OK, "{asked}");
        let received = world.upstream.take_received().remove(0);
        assert_eq!(received.target, arrives, "{asked}");
        let told = received.header("x-forwarded-prefix");
        assert_eq!(told.as_deref(), prefix, "{asked}");
    }
}

#[tokio::test]
async fn what_the_application_takes_for_a_path_of_admins_is_for_admins() {
    let world = world().start().await;
    let mel = world.clerk.sign_in("mel", None);
    for path in [
        "/app/admin",
        "/app/ADMIN/x",
        "/app/x/..;/admin",
        "/app/x/..;/..;/admin",
        "/app/..;/admin",
        "/app/%252e%252e/admin",
        "/app/admin.json",
        "/app/index.php/admin",
        "/app/;/admin",
        "/app/app/admin",
        "/app/APP/admin",
    ] {
        let call = world.get(path).cookie(&cookies(&mel));
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {answer:?}");
    }
    for path in ["/application", "/App/x", "/app%2Fx"] {
        let answer = world.get(path).send().await;
        assert!(answer.status.is_client_error(), "{path}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn nobody_leaves_what_is_put_in_front() {
    let world = world().start().await;
    for path in [
        "/files/..;/..;/admin",
        "/files/%252e%252e/%252e%252e/admin",
        "/old/..;/admin",
        "/old/..%20/admin",
    ] {
        let answer = world.get(path).send().await;
        let told = (answer.status.as_u16(), answer.code());
        assert_eq!(told, (400, "path-ambiguous".to_owned()), "{path}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn an_answer_is_left_as_it_is() {
    let world = world().start().await;
    world.upstream.answers(|_| {
        let answer = Response::builder()
            .status(302)
            .header("location", "/login")
            .header("set-cookie", "a=1; Path=/");
        answer.body(bytes::Bytes::new()).unwrap()
    });
    let answer = world.get("/app/x").send().await;
    assert_eq!(answer.header("location"), Some("/login"));
    assert_eq!(answer.header("set-cookie"), Some("a=1; Path=/"));
}

#[tokio::test]
async fn an_assertion_names_the_path_that_the_application_is_asked_for() {
    let world = signing(world()).start().await;
    world.get("/app/x?q=1").send().await;
    let received = world.upstream.only();
    let token = received.header("x-clerk-gate-assertion").unwrap();
    assert_eq!(claim(&token, "path"), "/x");
}

fn signing(world: WorldBuilder) -> WorldBuilder {
    world.configure(|config| config.assertion = Some(assertion("p256")))
}

#[tokio::test]
async fn whoever_forwards_by_a_door_is_told_of_the_path_that_was_asked_for() {
    let world = signing(world().with_doors()).start().await;
    let answer = doors::ask(&world, Dialect::Nginx, "GET", "/app/x")
        .send()
        .await;
    assert_eq!(doors::status(Dialect::Nginx, &answer), 200);
    assert_eq!(answer.header("x-forwarded-prefix"), None);
    let token = answer.header("x-clerk-gate-assertion").unwrap();
    assert_eq!(claim(token, "path"), "/app/x");
}

#[tokio::test]
async fn a_host_of_ones_own_choice_is_told_to_the_application() {
    let world = world()
        .configure(|config| {
            let host = Host::parse("app.internal:8080").unwrap();
            config.upstreams[0].host = HostHeader::Named(host);
        })
        .start()
        .await;
    world.request(Method::GET, "/app/x").send().await;
    let received = world.upstream.only();
    assert_eq!(
        received.header("host").as_deref(),
        Some("app.internal:8080")
    );
    let asked = format!("localhost:{}", world.gate.port());
    assert_eq!(received.header("x-forwarded-host"), Some(asked));
}
