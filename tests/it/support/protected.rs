//! Policies that protect a subtree, and who gets into it.

use clerk_gate::core::authorization::Asked;
use clerk_gate::core::decide::Decision;
use clerk_gate::core::explain::{Act, Rehearsal, Trust};
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::persona::{Persona, Sender};
use clerk_gate::core::policy::{CredentialUse, EncodedSlash, PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;

use super::pure::{Scene, route};
use crate::readers;

/// What protects a subtree, and the policy around it.
pub struct Shape {
    name: &'static str,
    root: &'static str,
    pub scene: Scene,
}

pub fn admins(path: &str) -> Route {
    let role = Some("org:admin".to_owned());
    let asked = Asked {
        role,
        ..Asked::default()
    };
    route("admin", &[path], Requirement::Has(asked))
}

fn files() -> Route {
    Route {
        credentials: CredentialUse::Ignore,
        ..route(
            "static",
            &["/favicon.ico", "/assets/**", "/docs/*.css"],
            Requirement::Public,
        )
    }
}

fn keep(route: Route) -> Route {
    Route {
        encoded_slash: EncodedSlash::Keep,
        ..route
    }
}

fn public(paths: &[&str]) -> Route {
    route("public", paths, Requirement::Public)
}

pub fn shapes() -> Vec<Shape> {
    let shape = |name, root, routes| Shape {
        name,
        root,
        scene: Scene::with(Policy::compile(routes, PathReading::Leniently).unwrap()),
    };
    vec![
        shape(
            "the rest signed-in",
            "/admin",
            vec![files(), public(&["/", "/public/**"]), admins("/admin/**")],
        ),
        shape(
            "the rest public",
            "/admin",
            vec![files(), admins("/admin/**"), public(&["/**"])],
        ),
        shape(
            "everything without a look",
            "/admin",
            vec![
                admins("/admin/**"),
                Route {
                    credentials: CredentialUse::Ignore,
                    ..public(&["/**"])
                },
            ],
        ),
        shape(
            "encoded slashes kept",
            "/admin",
            vec![
                keep(public(&["/public/**", "/assets/**"])),
                keep(admins("/admin/**")),
                keep(public(&["/**"])),
            ],
        ),
        shape(
            "further down",
            "/app/admin",
            vec![admins("/app/admin/**"), public(&["/app/**", "/**"])],
        ),
        shape(
            "below a wildcard",
            "/public/admin",
            vec![admins("/*/admin/**"), keep(public(&["/public/**", "/*"]))],
        ),
    ]
}

/// Whether somebody without the right gets through.
pub fn lets_through(scene: &Scene, path: &str, who: Option<&str>) -> bool {
    let mut headers = http::HeaderMap::new();
    if let Some(token) = who {
        headers.insert(
            http::header::AUTHORIZATION,
            format!("Bearer {token}").parse().unwrap(),
        );
    }
    let Ok(target) = path.parse() else {
        return false;
    };
    let somebody = Sender::Somebody(Box::default());
    scene.with_facts(
        &http::Method::GET,
        &target,
        headers,
        |inputs| match Rehearsal::new(inputs, Trust::Sender(&somebody)).go_on() {
            Act::Verdict(verdict) => matches!(verdict.decision, Decision::Forward(_)),
            Act::Signature(_) => unreachable!("only personas come"),
        },
    )
}

/// What lets somebody in who may not, if anything does.
pub fn fault(shapes: &[Shape], path: &str) -> Option<String> {
    // Exactly this is forwarded.
    let forwarded = CanonicalPath::parse(path).ok()?;
    let mut member = Persona::default();
    member.set_role("member");
    let mut found: Vec<(&str, Option<String>)> = Vec::new();
    for shape in shapes {
        let member = member.token(&shape.scene.instance, shape.scene.now_ms);
        let who = [("nobody", None), ("a member", Some(member.as_str()))]
            .into_iter()
            .find(|(_, token)| lets_through(&shape.scene, path, *token));
        let Some((who, _)) = who else {
            continue;
        };
        if found.iter().all(|(root, _)| *root != shape.root) {
            found.push((shape.root, readers::finds(forwarded.as_str(), shape.root)));
        }
        let reader = found.iter().find(|(root, _)| *root == shape.root);
        if let Some((root, Some(reader))) = reader {
            return Some(format!(
                "`{path}` is forwarded as `{forwarded}` for {who} under `{}`, and {reader} finds `{root}` there",
                shape.name
            ));
        }
    }
    None
}
