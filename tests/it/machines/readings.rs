//! Paths that some server takes for a machines' route.

use super::*;

/// Ways to write a path of `/keys/` or `/mcp/` that begin like another one, and the tokens with which
/// they are open. Where nothing public is behind the other reading, two kinds would be needed at once.
const DISGUISED: [(&str, &str); 7] = [
    ("/public/..;/keys/1", "key"),
    ("/public/%252e%252e/keys/1", "key"),
    ("/public/x;/../../keys/1", "key"),
    ("/KEYS/1", "nobody"),
    ("/keys./1", "nobody"),
    ("/PUBLIC/..;/mcp/1", "nobody"),
    ("/public/..;/mcp", "oauth"),
];

#[tokio::test]
async fn a_path_that_some_server_takes_for_a_machines_needs_what_the_machines_route_needs() {
    let world = world().await;
    let tokens = Tokens::of(&world);
    let mut refused = 0;
    for (target, right) in DISGUISED {
        for (name, token) in tokens.all() {
            let before = lookups(&world);
            let answer = world.get(target).bearer(token).send().await;
            let received = world.upstream.take_received();
            if name.starts_with(right) && received.len() == 1 {
                let kind = if right == "key" {
                    "api_key"
                } else {
                    "oauth_token"
                };
                assert_eq!(received[0].header("x-token-type").as_deref(), Some(kind));
                continue;
            }
            assert!(!name.starts_with(right), "{name} at {target}: {answer:?}");
            refused += 1;
            assert!(received.is_empty(), "{name} at {target}: {received:?}");
            assert_eq!(answer.status, 401, "{name} at {target}: {answer:?}");
            assert_eq!(lookups(&world), before, "{name} at {target}");
        }
        let (status, arrived) = outcome(&world, world.get(target)).await;
        assert_eq!((status, arrived), (401, false), "nothing at {target}");
        let lacking =
            world
                .clerk
                .machine_token(MachineGrant::new(MachineKind::OAuth, ADA, &["email"]));
        if right == "oauth" {
            let answer = world.get(target).bearer(&lacking.secret).send().await;
            assert_refused(&world, &answer, 403, "scope-missing");
        }
    }
    assert_eq!(refused, 3 * 5 + 4 + 3 * 6);
}
