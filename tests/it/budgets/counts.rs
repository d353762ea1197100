//! Limits through a real gate: exact counts, fields, pages, costs, tiers and dry runs.

use http::{Method, StatusCode};
use serde_json::json;

use super::{limited, outcome, public, world_of};
use crate::support::log::listen;
use crate::support::{cookies, refreshable};

const API: &str = r#"
[[route]]
name    = "api"
path    = "/api/**"
require = "signed-in"
limit   = { requests = 10, window = "10s", by = "user" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_once_get_exactly_what_there_is() {
    let world = world_of(API).start().await;
    let ada = world.clerk.sign_in("ada", None);
    let grace = world.clerk.sign_in("mel", None);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..64 {
        let whose = if number % 2 == 0 { &ada } else { &grace };
        let call = world.get("/api/x").bearer(&whose.token);
        calls.spawn(async move { (number % 2, outcome(&call.send().await)) });
    }
    let mut through = [0, 0];
    while let Some(done) = calls.join_next().await {
        match done.unwrap() {
            (whose, (200, _)) => through[whose] += 1,
            (_, refused) => assert_eq!(refused, limited()),
        }
    }
    assert_eq!(through, [10, 10]);
    assert_eq!(world.upstream.received().len(), 20);
}

#[tokio::test]
async fn answers_say_what_is_left_and_when_there_is_more() {
    let world = world_of(API).start().await;
    let ada = world.clerk.sign_in("ada", None);
    for left in (0..10).rev() {
        let answer = world.get("/api/x").bearer(&ada.token).send().await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"api\";q=10;w=10"));
        let limit = format!("\"api\";r={left};t=10");
        assert_eq!(answer.header("ratelimit"), Some(limit.as_str()));
        assert_eq!(answer.header("retry-after"), None);
    }
    let answer = world.get("/api/x").bearer(&ada.token).send().await;
    assert_eq!(outcome(&answer), limited());
    assert_eq!(answer.header("ratelimit"), Some("\"api\";r=0;t=11"));
    assert_eq!(answer.header("retry-after"), Some("11"));
    assert_eq!(world.upstream.take_received().len(), 10);

    world.clock.advance_ms(11_000);
    let answer = world.get("/api/x").bearer(&ada.token).send().await;
    assert_eq!(answer.status, StatusCode::OK, "the window has moved on");
    assert_eq!(world.upstream.take_received().len(), 1);
}

#[tokio::test]
async fn people_get_a_page_and_are_sent_nowhere() {
    let world = world_of(API).start().await;
    let ada = world.clerk.sign_in("ada", None);
    for _ in 0..10 {
        world.visit("/api/x").cookie(&cookies(&ada)).send().await;
    }
    world.upstream.take_received();
    for method in [Method::GET, Method::POST] {
        let page = world
            .request(method, "/api/x")
            .header("sec-fetch-dest", "document")
            .header("accept", "text/html")
            .cookie(&cookies(&ada))
            .header("origin", &format!("http://localhost:{}", world.gate.port()));
        let answer = page.send().await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.header("location"), None);
        assert!(answer.body.contains("Too many requests"), "{}", answer.body);
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn the_price_of_a_route_is_charged_to_every_limit() {
    let world = world_of(
        r#"
[[limit]]
name     = "everything"
requests = 9
window   = "1m"
by       = "address"

[[route]]
name    = "dear"
path    = "/dear"
require = "public"
cost    = 3
limit   = { requests = 100, window = "1m" }

[[route]]
name    = "cheap"
path    = "/**"
require = "public"
"#,
    )
    .start()
    .await;
    let left = |answer: crate::support::Answer| answer.header("ratelimit").map(str::to_owned);
    assert_eq!(
        left(world.get("/dear").send().await).unwrap(),
        "\"everything\";r=6;t=40, \"dear\";r=97;t=40"
    );
    assert_eq!(
        left(world.get("/x").send().await).unwrap(),
        "\"everything\";r=5;t=40"
    );
    world.get("/dear").send().await;
    let refused = world.get("/dear").send().await;
    assert_eq!(outcome(&refused), limited());
    for _ in 0..2 {
        assert_eq!(world.get("/x").send().await.status, StatusCode::OK);
    }
    assert_eq!(outcome(&world.get("/x").send().await), limited());
    assert_eq!(world.upstream.received().len(), 5);
}

#[tokio::test]
async fn a_dry_run_refuses_nobody_and_tells_nobody() {
    let world = public("{ requests = 1, window = \"1m\", in-flight = 1, dry-run = true }").await;
    for _ in 0..5 {
        let answer = world.get("/x").send().await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("ratelimit"), None);
        assert_eq!(answer.header("retry-after"), None);
    }
    assert_eq!(world.upstream.received().len(), 5);
}

#[tokio::test]
async fn the_log_names_the_limit_that_refused_and_each_that_would_have() {
    let (log, _logging) = listen();
    let world = world_of(
        r#"
        [[limit]]
        name = "trial"
        requests = 1
        window = "1m"
        by = "address"
        dry-run = true

        [[limit]]
        name = "firm"
        requests = 2
        window = "1m"
        by = "address"

        [[route]]
        name = "all"
        path = "/**"
        require = "public"
        "#,
    );
    let world = world.start().await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        world.get("/x").send().await;
        let text = log.text();
        let request = text.lines().rfind(|line| line.contains("decision="));
        lines.push(request.unwrap().to_owned());
    }
    let named = lines
        .iter()
        .map(|line| ["trial", "firm"].map(|name| line.contains(&format!("limit=\"{name}\""))));
    let expected = [[false, false], [true, false], [false, true]];
    assert_eq!(named.collect::<Vec<_>>(), expected, "{lines:?}");
    let text = log.text();
    let trial = "a limit would have refused a request limit=trial";
    assert_eq!(text.matches(trial).count(), 2, "{text}");
}

#[tokio::test]
async fn a_limit_that_is_not_told_of_refuses_all_the_same() {
    let world = public("{ requests = 1, window = \"1m\", headers = false }").await;
    let answer = world.get("/x").send().await;
    assert_eq!(answer.header("ratelimit-policy"), None);
    let answer = world.get("/x").send().await;
    assert_eq!(outcome(&answer), limited());
    assert_eq!(answer.header("ratelimit"), None);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn a_bucket_gives_a_burst_and_is_refilled() {
    let world =
        public("{ algorithm = \"token-bucket\", burst = 3, refill = 2, window = \"10s\" }").await;
    let mut statuses = Vec::new();
    for pause in [0, 0, 0, 0, 10_000, 0, 0] {
        world.clock.advance_ms(pause);
        statuses.push(world.get("/x").send().await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 200, 200, 429]);
    assert_eq!(world.upstream.received().len(), 5);
}

#[tokio::test]
async fn plans_and_roles_have_figures_of_their_own() {
    let world = world_of(
        r#"
[[route]]
name    = "api"
path    = "/api/**"
require = "public"
limit   = { requests = 1, window = "1m", tier = [
  { when = { plan = "gold" }, requests = 3 },
  { when = "org:admin", requests = 2 },
] }
"#,
    )
    .start()
    .await;
    let ada = world.clerk.sign_in("ada", None);
    let plain = json!({ "sub": "user_plain", "pla": null, "o": null });
    let gold = json!({ "sub": "user_gold", "pla": "u:gold" });
    let admin = json!({ "sub": "user_admin", "v": 2, "o": { "id": "org_1", "rol": "admin" } });
    for (claims, most) in [(plain, 1), (gold, 3), (admin, 2)] {
        let token = world.clerk.mint(&ada.session_id, &claims);
        let mut through = 0;
        for _ in 0..5 {
            let answer = world.get("/api/x").bearer(&token).send().await;
            through += usize::from(answer.status == StatusCode::OK);
        }
        assert_eq!(through, most, "{claims}");
    }
    let nobody = world.get("/api/x").send().await;
    assert_eq!(
        nobody.status,
        StatusCode::OK,
        "the address has its own count"
    );
    assert_eq!(outcome(&world.get("/api/x").send().await), limited());
    assert_eq!(world.upstream.received().len(), 7);
}

#[tokio::test]
async fn a_session_that_was_renewed_stays_renewed_when_its_request_is_refused() {
    let world = world_of(&API.replace("\"10s\"", "\"1h\"")).start().await;
    let ada = world.clerk.sign_in("ada", None);
    for _ in 0..10 {
        world.get("/api/x").cookie(&cookies(&ada)).send().await;
    }
    assert_eq!(world.upstream.take_received().len(), 10);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    let answer = world.get("/api/x").cookie(&refresh).send().await;
    assert_eq!(outcome(&answer), limited());
    let renewed = answer.all("set-cookie");
    assert!(
        renewed.iter().any(|c| c.starts_with("__session=")),
        "{renewed:?}"
    );
    world.upstream.assert_untouched();
}
