//! Policies that protect a subtree, and who gets into it.

use clerk_gate::core::authorization::Asked;
use clerk_gate::core::decide::Decision;
use clerk_gate::core::explain::{Act, Rehearsal, Trust};
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::persona::{Persona, Sender};
use clerk_gate::core::policy::{CredentialUse, EncodedSlash, PathReading, Policy, Route};
use clerk_gate::core::prefix::{Prefix, Prefixes};
use clerk_gate::core::requirement::Requirement;

use super::pure::{Scene, route};
use crate::readers;

/// What protects a subtree, and the policy around it.
pub struct Shape {
    name: &'static str,
    root: &'static str,
    /// Whether the application is told that `/app` was taken away.
    moves: bool,
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
        moves: name == "without its prefix",
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
        shape(
            "without its prefix",
            "/admin",
            vec![
                moved(keep(admins("/app/admin/**")), "/app", ""),
                moved(keep(public(&["/app/**"])), "/app", ""),
                elsewhere(),
            ],
        ),
        shape(
            "with another prefix",
            "/base/admin",
            vec![
                moved(keep(admins("/app/admin/**")), "/app", "/base"),
                moved(keep(public(&["/app/**"])), "/app", "/base"),
                elsewhere(),
            ],
        ),
        shape(
            "beside what is put in front",
            "/admin",
            vec![
                moved(keep(public(&["/public/**", "/app/**"])), "", "/base"),
                admins("/admin/**"),
            ],
        ),
    ]
}

/// Everything else, of another application.
fn elsewhere() -> Route {
    Route {
        upstream: 1,
        ..keep(public(&["/**"]))
    }
}

fn moved(route: Route, strip: &str, add: &str) -> Route {
    let prefix = |text: &str| (!text.is_empty()).then(|| Prefix::parse(text).unwrap());
    Route {
        prefixes: Prefixes::new(prefix(strip), prefix(add)),
        ..route
    }
}

/// What the application is asked for by somebody without the right, if they get through to it.
pub fn lets_through(scene: &Scene, path: &str, who: Option<&str>) -> Option<String> {
    let mut headers = http::HeaderMap::new();
    if let Some(token) = who {
        headers.insert(
            http::header::AUTHORIZATION,
            format!("Bearer {token}").parse().unwrap(),
        );
    }
    let target = path.parse().ok()?;
    let somebody = Sender::Somebody(Box::default());
    scene.with_facts(
        &http::Method::GET,
        &target,
        headers,
        |inputs| match Rehearsal::new(inputs, Trust::Sender(&somebody)).go_on() {
            Act::Verdict(verdict) => match verdict.decision {
                Decision::Forward(permit) if permit.upstream() == 0 => {
                    Some(permit.path(inputs.facts).to_string())
                }
                _ => None,
            },
            Act::Signature(_) => unreachable!("only personas come"),
        },
    )
}

/// What lets somebody in who may not, if anything does.
pub fn fault(shapes: &[Shape], path: &str) -> Option<String> {
    CanonicalPath::parse(path).ok()?;
    let mut member = Persona::default();
    member.set_role("member");
    let mut found: Vec<(&str, String, Option<String>)> = Vec::new();
    for shape in shapes {
        let member = member.token(&shape.scene.instance, shape.scene.now_ms);
        let through = [("nobody", None), ("a member", Some(member.as_str()))]
            .into_iter()
            .find_map(|(who, token)| Some((who, lets_through(&shape.scene, path, token)?)));
        let Some((who, forwarded)) = through else {
            continue;
        };
        let known = |(root, path, _): &(&str, String, _)| *root == shape.root && *path == forwarded;
        if !found.iter().any(known) {
            // An application that knows its prefix may take it away once more.
            let once_more = forwarded.strip_prefix("/app");
            let once_more = once_more.filter(|rest| rest.is_empty() || rest.starts_with('/'));
            let reader = readers::finds(&forwarded, shape.root).or_else(|| {
                let once_more = once_more.filter(|_| shape.moves)?;
                let reader = readers::finds(once_more, shape.root)?;
                Some(format!("{reader}, without `/app` once more,"))
            });
            found.push((shape.root, forwarded.clone(), reader));
        }
        let read = found.iter().find(|found| known(found));
        if let Some((root, forwarded, Some(reader))) = read {
            return Some(format!(
                "`{path}` is forwarded as `{forwarded}` for {who} under `{}`, and {reader} finds `{root}` there",
                shape.name
            ));
        }
    }
    None
}
