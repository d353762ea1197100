//! Clerk's script for browsers, from an installed package.

use super::*;
use crate::core::key::PublishableKey;

async fn world() -> World {
    let scripts = [
        ("clerk.browser.js", "the script"),
        ("1_clerk.browser_a_6.40.0.js", "a part"),
    ];
    let scripts = scripts.map(|(name, text)| (name.to_owned(), Bytes::from(text)));
    let clerk_js = ClerkJs::new("6.40.0", scripts.into());
    World::with(|options| options.clerk_js = Some(clerk_js)).await
}

#[tokio::test]
async fn the_scripts_of_the_package_are_served_and_nothing_else() {
    let world = world().await;
    for (path, script) in [
        ("clerk-js@6.40.0/dist/clerk.browser.js", "the script"),
        ("clerk-js@6/dist/clerk.browser.js", "the script"),
        ("clerk-js@6.40.0/dist/1_clerk.browser_a_6.40.0.js", "a part"),
    ] {
        let answer = world.get(&format!("/npm/@clerk/{path}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let content_type = &answer.headers()["content-type"];
        assert_eq!(content_type, "text/javascript; charset=utf-8");
        assert_eq!(text(answer).await, script);
    }
    for path in [
        "clerk-js@6.39.0/dist/clerk.browser.js",
        "clerk-js@/dist/clerk.browser.js",
        "clerk-js/dist/clerk.browser.js",
        "ui@6.40.0/dist/clerk.browser.js",
        "clerk-js@6.40.0/dist/none.js",
        "clerk-js@6.40.0/dist/..%2Fpackage.json",
        "clerk-js@6.40.0/dist/../package.json",
        "clerk-js@6.40.0/package.json",
    ] {
        let answer = world.get(&format!("/npm/@clerk/{path}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn with_the_script_the_key_names_a_host_that_the_script_takes_for_a_development_one() {
    let world = world().await;
    let key = PublishableKey::parse(world.standin.publishable_key()).expect("a key");
    assert!(key.frontend_api().ends_with(".accounts.dev"));
    assert_eq!(
        world.standin.issuer(),
        format!("https://{}", key.frontend_api())
    );
    assert_eq!(world.standin.cookie_suffix(), key.cookie_suffix());
    let session = world.standin.sign_in("ada", None);
    assert_eq!(claims(&session.token)["iss"], world.standin.issuer());
}

#[tokio::test]
async fn without_the_package_there_is_no_script() {
    let world = World::new().await;
    let script = "/npm/@clerk/clerk-js@6.40.0/dist/clerk.browser.js";
    let answer = world.get(script).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
