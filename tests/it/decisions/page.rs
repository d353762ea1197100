//! What is kept, and who sees it.

use http::Method;
use serde_json::json;

use super::*;
use crate::support::{Call, START_MS};

#[tokio::test]
async fn a_decision_says_what_the_log_says_and_how_long_it_took() {
    let world = builder().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world.get("/members/1?token=x").bearer(&ada.token);
    call.header("x-request-id", "r-1").send().await;
    let kept = decisions(&world, "").await;
    assert_eq!(kept.len(), 1);
    let mut decision = kept[0].clone();
    let fields = decision.as_object_mut().unwrap();
    let verdict = fields.remove("verdict_us").unwrap().as_u64().unwrap();
    let upstream = fields.remove("upstream_us").unwrap().as_u64().unwrap();
    let total = fields.remove("total_us").unwrap().as_u64().unwrap();
    assert!(verdict + upstream <= total, "{verdict} {upstream} {total}");
    assert_eq!(
        decision,
        json!({
            "time": humantime::format_rfc3339_millis(
                std::time::UNIX_EPOCH + std::time::Duration::from_millis(START_MS)
            ).to_string(),
            "request_id": "r-1",
            "mode": "proxy",
            "method": "GET",
            "path": "/members/1",
            "host": format!("localhost:{}", world.gate.port()),
            "route": "members",
            "decision": "forward",
            "reason": null,
            "reading": null,
            "user": ada.user_id,
            "status": 200,
            "upstream_status": 200,
            "config_generation": 1,
            "trace_id": null,
        })
    );
}

#[tokio::test]
async fn the_last_decisions_are_found_by_what_they_are() {
    let world = builder().with_doors().start().await;
    for path in [
        "/public/1",
        "/members/1",
        "/ADMIN/x",
        "/%zz",
        "/few/1",
        "/few/2",
        "/_gate/me",
    ] {
        world
            .get(path)
            .header("x-request-id", &path[1..4].replace('%', "p"))
            .send()
            .await;
    }
    world.visit("/members/2").send().await;
    let dialect = clerk_gate::core::door::Dialect::ALL[0];
    crate::doors::ask(&world, dialect, "GET", "/members/3")
        .send()
        .await;
    let all = decisions(&world, "").await;
    assert_eq!(all.len(), 9);
    let moments = each(&all, "path");
    assert_eq!(
        (&*moments[0], &*moments[8]),
        ("/members/3", "/public/1"),
        "the youngest first"
    );
    for (query, expected) in [
        (
            "?route=members",
            &["/members/3", "/members/2", "/members/1"][..],
        ),
        ("?route=members&decision=redirect", &["/members/2"]),
        ("?decision=page", &[]),
        ("?route=(own%20pages)", &["/_gate/me"]),
        ("?reason=rate-limited", &["/few/2"]),
        ("?reason=path", &["null"]),
        ("?status=429", &["/few/2"]),
        ("?status=2xx", &["/few/1", "/public/1"]),
        ("?request-id=ADM", &["/ADMIN/x"]),
        ("?request-id=ADM&status=2xx", &[]),
        ("?route=&status=+400+", &["null"]),
        ("?route=nowhere", &[]),
    ] {
        let found = decisions(&world, query).await;
        assert_eq!(each(&found, "path"), expected, "{query}");
    }
    let found = decisions(&world, "?request-id=ADM").await;
    assert_eq!(
        (each(&found, "reading"), each(&found, "route")),
        (
            vec!["folded".to_owned()],
            vec!["(everything else)".to_owned()]
        )
    );
    assert_eq!(each(&all, "mode")[0], dialect_name(dialect));
    let unknown = world.window("/decisions.json?user=user_1").send().await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

fn dialect_name(dialect: clerk_gate::core::door::Dialect) -> &'static str {
    clerk_gate::telemetry::requests::Mode::from(dialect).name()
}

#[tokio::test]
async fn the_oldest_decisions_go_and_a_reload_says_how_many_stay() {
    let world = builder()
        .configure(|config| config.decisions = 3)
        .start()
        .await;
    for number in 0..5 {
        world.get(&format!("/public/{number}")).send().await;
    }
    let kept = each(&decisions(&world, "").await, "path");
    assert_eq!(kept, ["/public/4", "/public/3", "/public/2"]);
    let mut next = world.config.clone();
    next.decisions = 1;
    world.reloader.change_to(next.clone()).unwrap();
    assert_eq!(each(&decisions(&world, "").await, "path"), ["/public/4"]);
    next.decisions = 0;
    world.reloader.change_to(next).unwrap();
    world.get("/public/5").send().await;
    assert_eq!(decisions(&world, "").await.len(), 0);
    let page = world.window("/decisions").send().await;
    assert!(page.body.contains("No decisions are kept"), "{}", page.body);
    assert_eq!(world.upstream.received().len(), 6);
}

#[tokio::test]
async fn the_page_works_without_scripts_under_a_strict_policy() {
    let world = builder().start().await;
    world
        .get("/members/1")
        .header("x-request-id", "r-1")
        .send()
        .await;
    let page = world
        .window("/decisions?status=401&route=members")
        .send()
        .await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.header("content-security-policy").unwrap();
    let style = "default-src 'none'; style-src 'sha256-";
    assert!(
        policy.starts_with(style) && !policy.contains("unsafe"),
        "{policy}"
    );
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    for said in [
        "<option selected>members</option>",
        "value=\"401\"",
        "GET /members/1",
        "/explain?request-id=r-1",
        "dev-browser-missing",
    ] {
        assert!(page.body.contains(said), "no {said} in {}", page.body);
    }
    assert!(!page.body.contains("<script") && !page.body.contains("style=\""));
    let none = world.window("/decisions?status=200").send().await;
    assert!(
        none.body.contains("No decision is like that."),
        "{}",
        none.body
    );
}

#[tokio::test]
async fn what_a_stranger_sends_stays_text_on_the_page() {
    let world = builder().start().await;
    world.get("/public/%3Cscript%3E'%22%3Cb%3E").send().await;
    let odd = Method::from_bytes(b"<B'>").ok();
    assert_eq!(odd, None, "no method is like that");
    let page = world
        .window("/decisions?reason=%22%3E%3Cscript%3E")
        .send()
        .await;
    assert!(!page.body.contains("<script"), "{}", page.body);
    let page = world.window("/decisions").send().await;
    assert!(!page.body.contains("<script>"), "{}", page.body);
    assert!(page.body.contains("/public/%3Cscript%3E"), "{}", page.body);
}

#[tokio::test]
async fn a_page_shows_so_many_and_says_how_many_more_there_are() {
    let world = builder().start().await;
    let request = "GET /public/x HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(203);
    let answers = crate::support::exchange(world.gate, request.as_bytes()).await;
    assert_eq!(answers.len(), 203);
    let page = world.window("/decisions").send().await;
    assert_eq!(page.body.matches("<li>").count(), 200);
    assert!(page.body.contains("There are 3 more"));
    assert_eq!(decisions(&world, "").await.len(), 203);
}

#[tokio::test]
async fn decisions_are_for_addresses_and_names_of_this_machine_and_for_reading() {
    let world = builder().start().await;
    world.get("/public/secret-path").send().await;
    for path in [
        "/decisions",
        "/decisions.json",
        "/explain?request-id=x",
        "/explain.json?request-id=x",
    ] {
        let rebound = world.window(path).header("host", "rebound.example");
        let answer = rebound.send().await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert!(!answer.body.contains("secret-path"));
        let posted = Call::new(world.admin, Method::POST, path);
        let answer = posted.send().await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        // And the application's visitors never get there.
        let answer = world.get(path).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}
