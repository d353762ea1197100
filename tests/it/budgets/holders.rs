//! Whose part of a limit is charged: people, organisations, sessions, machines, claims and addresses.

use std::net::IpAddr;
use std::sync::Arc;

use clerk_gate::core::budget::{By, Holder, Sender, Spender};
use clerk_gate::core::machine::{Machine, TokenType};
use clerk_gate::standin::{MachineGrant, MachineKind};
use http::StatusCode;
use serde_json::json;

use super::{limited, outcome, public, world_of};
use crate::support::{World, cookies};

fn spender(address: &str, sender: Sender) -> Spender<'static> {
    Spender {
        address: address.parse().unwrap(),
        instance: "clerk.example.com",
        sender,
        now_ms: 0,
    }
}

fn of_address(address: &str, prefix: u8) -> IpAddr {
    match spender(address, Sender::Nobody).holder(&By::Address, prefix) {
        Holder::Address(address) => address,
        Holder::Caller { .. } => panic!("an address"),
    }
}

#[test]
fn an_ipv6_client_is_its_network_and_an_ipv4_client_itself() {
    for (address, prefix, expected) in [
        ("192.0.2.7", 64, "192.0.2.7"),
        ("::ffff:192.0.2.7", 64, "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", 64, "2001:db8:1:2::"),
        ("2001:db8:1:3::1", 64, "2001:db8:1:3::"),
        ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
        ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
    ] {
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(of_address(address, prefix), expected, "{address}/{prefix}");
    }
}

#[test]
fn a_token_that_is_made_anew_brings_no_new_budget() {
    let machine = |kind: TokenType, id: &str| {
        let answer = json!({
            "id": id, "subject": if kind == TokenType::M2m { "mch_1" } else { "user_1" },
            "client_id": "client_1", "scopes": [], "claims": { "team": id },
            "revoked": false, "expired": false, "expiration": null,
        });
        Sender::Machine(Arc::new(Machine::from_answer(kind, &answer).unwrap()))
    };
    for kind in [TokenType::M2m, TokenType::OAuth] {
        for by in [By::Machine, By::User, By::Session, By::Organization] {
            let holder = |id| spender("192.0.2.1", machine(kind, id)).holder(&by, 64);
            assert!(holder("one") == holder("two"), "{kind} by {by}");
        }
    }
    // What a machine wrote into its own token says nothing.
    let claim = By::Claim(vec!["team".to_owned()]);
    let holder = |id| spender("192.0.2.1", machine(TokenType::M2m, id)).holder(&claim, 64);
    assert!(holder("one") == holder("two"));
    let keys = |id| spender("192.0.2.1", machine(TokenType::ApiKey, id)).holder(&By::Machine, 64);
    assert!(keys("one") != keys("two"), "each API key has its own");
}

#[tokio::test]
async fn a_person_is_one_whatever_comes_from_where() {
    let world = world_of(
        "[[route]]\nname = \"all\"\npath = \"/**\"\nrequire = { token = [\"session_token\", \"api_key\"] }\n\
         limit = { requests = 3, window = \"1m\" }\n",
    )
    .start()
    .await;
    let ada = world.clerk.sign_in("ada", None);
    let again = world.clerk.sign_in("ada", None);
    let grant = MachineGrant::new(MachineKind::ApiKey, &ada.user_id, &[]);
    let key = world.clerk.machine_token(grant);
    let calls = [
        world.get("/x").cookie(&cookies(&ada)),
        world.get("/x").bearer(&again.token),
        world.get("/x").bearer(&key.secret),
        world.get("/x").bearer(&ada.token),
    ];
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.send().await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(world.upstream.received().len(), 3);
}

async fn by(by: &str) -> World {
    let limit = format!("{{ requests = 1, window = \"1m\", by = {by} }}");
    public(&limit).await
}

#[tokio::test]
async fn what_is_not_there_falls_back_to_the_person_and_then_to_the_address() {
    for kind in [
        "\"user\"",
        "\"organization\"",
        "\"session\"",
        "\"machine\"",
        "{ claim = \"metadata.team\" }",
    ] {
        let world = by(kind).await;
        assert_eq!(world.get("/x").send().await.status, StatusCode::OK);
        assert_eq!(outcome(&world.get("/x").send().await), limited(), "{kind}");
        let ada = world.clerk.sign_in("ada", None);
        let token = world
            .clerk
            .mint(&ada.session_id, &json!({ "o": null, "metadata": null }));
        let first = world.get("/x").bearer(&token).send().await;
        assert_eq!(first.status, StatusCode::OK, "{kind}");
        let second = world.get("/x").bearer(&token).send().await;
        assert_eq!(outcome(&second), limited(), "{kind}");
        // A token that is none is nobody's.
        let made_up = world.get("/x").bearer("made.up.token").send().await;
        assert_eq!(outcome(&made_up), limited(), "{kind}");
        assert_eq!(world.upstream.received().len(), 2, "{kind}");
    }
}

#[tokio::test]
async fn members_of_an_organisation_and_of_a_team_share_what_there_is() {
    for (kind, claims) in [
        (
            "\"organization\"",
            json!({ "v": 2, "o": { "id": "org_1", "rol": "member" } }),
        ),
        (
            "{ claim = [\"metadata\", \"team\"] }",
            json!({ "metadata": { "team": "red" } }),
        ),
    ] {
        let world = by(kind).await;
        let mut statuses = Vec::new();
        for person in ["ada", "mel"] {
            let session = world.clerk.sign_in(person, None);
            let token = world.clerk.mint(&session.session_id, &claims);
            statuses.push(world.get("/x").bearer(&token).send().await.status.as_u16());
        }
        assert_eq!(statuses, [200, 429], "{kind}");
        assert_eq!(world.upstream.received().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn forwarded_addresses_count_from_trusted_proxies_alone() {
    for (trusted, expected) in [(false, [200, 429, 429]), (true, [200, 200, 200])] {
        let written = super::written(
            "[[limit]]\nrequests = 1\nwindow = \"1m\"\nby = \"address\"\n\
             [[route]]\npath = \"/**\"\nrequire = \"public\"\n",
        );
        let world = World::with(Vec::new()).configure(move |config| {
            config.policy = written.policy;
            if trusted {
                config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            }
        });
        let world = world.start().await;
        let mut statuses = Vec::new();
        for number in 1..4 {
            let forged = format!("198.51.100.{number}");
            let call = world
                .get("/x")
                .header("x-forwarded-for", &forged)
                .header("x-real-ip", &forged)
                .header("forwarded", &format!("for={forged}"));
            statuses.push(call.send().await.status.as_u16());
        }
        assert_eq!(statuses, expected, "trusted: {trusted}");
        let through = expected.iter().filter(|status| **status == 200).count();
        assert_eq!(world.upstream.received().len(), through);
    }
}
