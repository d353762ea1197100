//! Nothing that somebody could use is kept.

use super::*;
use crate::support::{cookies, refreshable, sealed};

#[tokio::test]
async fn neither_page_nor_list_nor_explanation_shows_what_a_request_carries() {
    let world = builder().relaying().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mark = "HiddenMark";
    let seal = sealed(&world, &ada);
    let refresh = refreshable(&world, &ada);
    let query = format!(
        "token={mark}&__clerk_db_jwt={mark}&__clerk_synced={mark}{}",
        "x".repeat(40)
    );
    let handshake = format!("__clerk_handshake=a.{mark}.b&__clerk_handshake_nonce={mark}");
    let calls = [
        world.get(&format!("/members/1?{query}")).bearer(&ada.token),
        world.visit(&format!("/members/1?{query}")).cookie(&refresh),
        world
            .visit(&format!("/members/1?{handshake}"))
            .cookie(&seal),
        world
            .get("/members/1")
            .cookie(&format!("{}; other={mark}", cookies(&ada))),
        world.get("/members/1").bearer(mark),
        world.get("/keys/1").bearer(&format!("ak_{mark}")),
        world
            .get("/members/1")
            .header("referer", &format!("https://other.example/{mark}?{mark}")),
        world.get("/members/1").header("user-agent", mark),
        world
            .visit(&format!("/_gate/sign-in?redirect_url=/x?{mark}"))
            .cookie(&seal),
        world
            .get(&format!("/__clerk/v1/client?{query}"))
            .cookie(&seal),
        world.get(&format!("/%zz?{query}")),
    ];
    let count = calls.len();
    for call in calls {
        call.header("x-request-id", "r").send().await;
    }
    world.clock.advance_ms(70_000);
    world
        .get("/members/1")
        .cookie(&refresh)
        .header("x-request-id", "r")
        .send()
        .await;
    let kept = decisions(&world, "").await;
    assert_eq!(kept.len(), count + 1);
    let mut shown = vec![format!("{:?}", world.service.gate.decisions)];
    for path in [
        "/decisions",
        "/decisions.json",
        "/explain?request-id=r",
        "/explain.json?request-id=r",
        "/explain?request-id=r&status=400",
        "/explain?request-id=r&route=(no%20route)",
    ] {
        let answer = world.window(path).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        shown.push(answer.body);
    }
    let refresh = ada.refresh_token.clone().unwrap();
    let sealed = seal.split("__Host-clerk-gate-seal").nth(1).unwrap();
    let sealed = sealed.split('=').nth(1).unwrap();
    let signature = ada.token.rsplit('.').next().unwrap();
    for text in &shown {
        for secret in [
            mark,
            &ada.token,
            signature,
            &ada.dev_browser,
            &refresh,
            sealed,
            world.clerk.secret_key(),
        ] {
            assert!(secret.len() > 8, "{secret}");
            assert!(!text.contains(secret), "`{secret}` is in {text}");
        }
    }
}

#[tokio::test]
async fn claims_that_the_operator_has_chosen_are_covered_in_an_explanation() {
    use clerk_gate::core::identity_headers::MappedHeader;
    let world = builder()
        .configure(|config| {
            config.identity.headers = vec![MappedHeader {
                name: "remote-user".parse().unwrap(),
                claim: vec!["iss".to_owned()],
            }];
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world.get("/members/1").bearer(&ada.token);
    call.header("x-request-id", "r-1").send().await;
    let told = world.upstream.only();
    assert!(told.header("remote-user").is_some());
    let text = world.window("/explain?request-id=r-1").send().await.body;
    assert!(text.contains("upstream  remote-user: …\n"), "{text}");
    assert!(
        text.contains(&format!("upstream  x-user-id: {}\n", ada.user_id)),
        "{text}"
    );
}
