//! Requirements that put kinds of token together, as the reference has them.

use super::*;

const COMBINED: &str = r#"
[[route]]
name    = "invoices"
path    = "/invoices/**"
require = { any = [{ token = "api_key", scope = "read:invoices" }, { permission = "org:invoices:write" }] }

[[route]]
name    = "around"
path    = "/around/**"
require = { token = ["session_token", "api_key"], any = ["org:admin", { scope = "read:invoices" }] }

[[route]]
name    = "both"
path    = "/both/**"
require = { all = [{ token = ["api_key", "oauth_token"] }, { token = ["oauth_token", "session_token"] }] }

[[route]]
name    = "role"
path    = "/role/**"
require = { token = "any", role = "org:admin" }

[[route]]
name    = "tier"
path    = "/tier/**"
require = { token = ["api_key", "m2m_token"], claim = { path = "tier", equals = "gold" } }

[[route]]
name    = "inner"
path    = "/inner/**"
require = { any = [{ all = [{ token = "m2m_token" }, { scope = "mch_2Receiver" }] }, "org:admin"] }
"#;

/// Who gets in where: a letter for each of key, m2m, m2m JWT, OAuth, OAuth JWT, Ada (an admin), Mel
/// (a member) and nobody. `.` is a 401, `-` a 403.
const TABLE: [(&str, &str); 6] = [
    ("/invoices/1", "+....+-."),
    ("/around/1", "+....+-."),
    ("/both/1", "...++..."),
    ("/role/1", ".....+-."),
    ("/tier/1", "+......."),
    ("/inner/1", ".+...+-."),
];

#[tokio::test]
async fn any_and_all_hold_for_the_kinds_that_stand_beside_them() {
    let world = world_of(COMBINED).start().await;
    let tokens = Tokens::of(&world);
    let mel = world.clerk.sign_in("mel", None).token;
    let mut tried = 0;
    for (target, expected) in TABLE {
        let all = tokens
            .all()
            .into_iter()
            .chain([("mel", &*mel)])
            .map(Some)
            .chain([None]);
        let mut found = String::new();
        for token in all {
            tried += 1;
            let call = world.get(target);
            let call = match token {
                Some((_, token)) => call.bearer(token),
                None => call,
            };
            found.push(match outcome(&world, call).await {
                (200, true) => '+',
                (403, false) => '-',
                (401, false) => '.',
                other => panic!("{target} {token:?}: {other:?}"),
            });
        }
        assert_eq!(found, expected, "{target}");
    }
    assert_eq!(tried, 48);
}
