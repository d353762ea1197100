//! What always holds, as functions of an input: properties and the fuzzer share them.
//!
//! Each says what is broken, if anything is.

use std::sync::Arc;

use clerk_gate::config::{self, Colour, Severity, Source, Surroundings};
use clerk_gate::core::continuity::Keepsake;
use clerk_gate::core::cookies::Cookies;
use clerk_gate::core::decide::{Decision, Extent, Inputs, Owner, Task, Verdict};
use clerk_gate::core::jwt::Token;
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::upstream::head::{ClerkCookies, HeaderRules, HostRule, Met};
use http::header::{CONNECTION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::Value;
use url::Url;

use super::pure::{NOW_MS, Oracle, SIGNER, Scene, is_forwarded, judge};

/// Whether an invariant holds; if not, what is broken.
pub type Holds = Result<(), String>;

pub fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Holds {
    if holds { Ok(()) } else { Err(broken()) }
}

/// A canonical path is its own canonical spelling, and says nothing in two ways.
pub fn canonical_path(raw: &str) -> Holds {
    let Ok(path) = CanonicalPath::parse(raw) else {
        return Ok(());
    };
    let text = path.as_str();
    ensure(CanonicalPath::parse(text).as_ref() == Ok(&path), || {
        format!("`{raw}` is `{text}`, which is not itself")
    })?;
    let plain = text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['\\', '?', '#', '"', '<', '>'])
        && !text.contains("//")
        && !text.split('/').any(|name| matches!(name, "." | ".."))
        && !text.to_ascii_lowercase().contains("%2e")
        && text.parse::<Uri>().is_ok_and(|uri| uri.path() == text);
    ensure(plain, || format!("`{raw}` is `{text}`"))
}

/// The head that the upstream gets of a request that is let through.
pub fn forwarded_head(inputs: Inputs<'_, '_>, verdict: &Verdict) -> Option<HeaderMap> {
    let Decision::Forward(permit) = &verdict.decision else {
        return None;
    };
    let rules = HeaderRules::new(Arc::new(inputs.headers.reserved()), ClerkCookies::Strip);
    let id = HeaderValue::from_static("request-1");
    let met = Met {
        peer: inputs.facts.client,
        request_id: &id,
        trace: None,
        stripped: None,
    };
    Some(rules.request(inputs.facts, permit, &HostRule::Preserve, &met))
}

fn letters(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.collect::<String>().to_ascii_lowercase()
}

/// Identity headers are those of the verdict, whatever a client sends.
pub fn identity_is_ours(inputs: Inputs<'_, '_>, verdict: &Verdict) -> Holds {
    let Decision::Forward(permit) = &verdict.decision else {
        return Ok(());
    };
    let head = forwarded_head(inputs, verdict).unwrap_or_default();
    for ours in inputs.headers.names() {
        let arrived: Vec<_> = head
            .iter()
            .filter(|(name, _)| letters(name.as_str()) == letters(ours.as_str()))
            .collect();
        let meant: Vec<_> = permit
            .identity()
            .iter()
            .filter(|(name, _)| name == ours)
            .map(|(name, value)| (name, value))
            .collect();
        ensure(arrived == meant, || {
            format!("{ours}: {arrived:?} arrived, {meant:?} was meant")
        })?;
    }
    let hop_by_hop = head.contains_key(CONNECTION)
        && head.get(CONNECTION) != Some(&HeaderValue::from_static("upgrade"));
    ensure(!hop_by_hop, || {
        format!("{:?} went on", head.get(CONNECTION))
    })
}

/// What is signed is about this request, and names whom the identity headers name.
pub fn assertion_is_of_the_request(inputs: Inputs<'_, '_>, verdict: &Verdict) -> Holds {
    let Decision::Forward(permit) = &verdict.decision else {
        return Ok(());
    };
    let Some(assertion) = permit.assertion() else {
        return ensure(inputs.headers.assertion().is_none(), || {
            "nothing is signed".to_owned()
        });
    };
    let claims = assertion.claims();
    let said = |name: &str| claims.get(name).and_then(Value::as_str);
    let facts = inputs.facts;
    // The path is said by whoever signs.
    ensure(said("htm") == Some(facts.method.as_str()), || {
        format!("{claims:?} is of another request")
    })?;
    let somebody = !permit.identity().is_empty();
    ensure(said("sub").is_some() == somebody, || {
        format!("{claims:?} for {:?}", permit.identity())
    })?;
    for (name, header) in [
        ("sub", "x-user-id"),
        ("sid", "x-session-id"),
        ("org_id", "x-org-id"),
        ("org_role", "x-org-role"),
        ("token_type", "x-token-type"),
    ] {
        let told = permit.identity().iter().find(|(known, _)| known == header);
        let told = told.map(|(_, value)| value.to_str().unwrap_or_default());
        // A header encodes what is no plain text, and leaves out what is too long.
        let same = told.is_none_or(|told| said(name) == Some(told) || told.contains('%'));
        ensure(same, || {
            format!("{name} is {:?}, {header} {told:?}", said(name))
        })?;
    }
    Ok(())
}

/// Cookies are read alike in one line and in crumbs, and Clerk's stay here; the others go on.
pub fn cookies(inputs: Inputs<'_, '_>, verdict: &Verdict, line: &[u8]) -> Holds {
    let Ok(whole) = HeaderValue::from_bytes(line) else {
        return Ok(());
    };
    let one = HeaderMap::from_iter([(COOKIE, whole)]);
    let mut many = HeaderMap::new();
    for crumb in line.split(|byte| *byte == b';') {
        many.append(COOKIE, HeaderValue::from_bytes(crumb).unwrap());
    }
    let names: Vec<String> = line
        .split(|byte| *byte == b';')
        .filter_map(|pair| {
            Some(
                String::from_utf8_lossy(pair.split(|b| *b == b'=').next()?)
                    .trim()
                    .to_owned(),
            )
        })
        .chain(["__session", "__client_uat", "a"].map(str::to_owned))
        .collect();
    for name in &names {
        let (a, b) = (
            Cookies::read(&one).value(name),
            Cookies::read(&many).value(name),
        );
        ensure(a == b, || {
            format!("{name}: {a:?} in one line, {b:?} in crumbs")
        })?;
        ensure(a.as_deref() != Some(""), || {
            format!("{name} is empty and there")
        })?;
    }
    let Some(head) = forwarded_head(inputs, verdict) else {
        return Ok(());
    };
    let (came, went) = (Cookies::read(inputs.facts.headers), Cookies::read(&head));
    for name in &names {
        let of = |base: &str| {
            name.strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let clerks = of("__session")
            || of("__client")
            || of("__refresh")
            || of("__clerk_db_jwt")
            || of("__clerk_redirect_count")
            || name.starts_with("__clerk_handshake")
            || name.starts_with("__Host-clerk-gate")
            || name == "clerk_active_context";
        let arrived = went.value(name);
        let expected = if clerks { None } else { came.value(name) };
        ensure(arrived == expected, || {
            format!("{name}: {arrived:?} arrived, {expected:?} was meant")
        })?;
    }
    Ok(())
}

/// Forwarded headers of a stranger change nothing.
pub fn strangers_change_nothing(scene: &Scene, headers: &HeaderMap) -> Holds {
    const FORWARDED: [&str; 6] = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "forwarded",
        "x-real-ip",
    ];
    let mut without = headers.clone();
    for name in FORWARDED {
        without.remove(name);
    }
    let target = Uri::from_static("/admin/x");
    let [with, without] = [headers.clone(), without].map(|headers| {
        scene.with_facts(&Method::GET, &target, headers, |inputs| {
            let facts = inputs.facts;
            let read = (
                facts.origin.to_string(),
                facts.host.to_string(),
                facts.client,
            );
            Some((read, facts.forwarded_for.clone(), facts.url()))
        })
    });
    ensure(with == without, || format!("{without:?} became {with:?}"))
}

/// A token that differs from a good one lets nobody in.
pub fn only_the_very_token(scene: &Scene, good: &str, other: &str) -> Holds {
    let signed_in = |token: &str| {
        let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
            return Ok(false);
        };
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
        let target = Uri::from_static("/members");
        scene
            .with_facts(&Method::GET, &target, headers, |inputs| {
                Some(judge(inputs, &Oracle::keys_only()).map(|verdict| is_forwarded(&verdict)))
            })
            .unwrap_or(Ok(false))
    };
    // What stands behind a second space is not part of the token.
    let sent = other.split(' ').next().unwrap_or_default();
    ensure(!signed_in(other)? || sent == good, || {
        format!("`{other}` was taken for `{good}`")
    })?;
    if let Ok(token) = Token::decode(other) {
        let signature = SIGNER.keys.check(other, &token);
        ensure(
            signature != clerk_gate::core::verify::Signature::Good || other == good,
            || format!("the signature of `{other}` is good"),
        )?;
    }
    Ok(())
}

/// Wherever a browser is sent is one of ours or of Clerk's, and means the same to a browser.
pub fn redirects_stay(inputs: Inputs<'_, '_>, verdict: &Verdict) -> Holds {
    let sign_in = match &verdict.decision {
        Decision::Redirect(redirect) => Some(&redirect.location),
        Decision::Refuse(refusal) => refusal.sign_in_url.as_ref(),
        Decision::Forward(_) | Decision::Relay(_) | Decision::Page(_) | Decision::Serve(_) => None,
    };
    let Some(location) = sign_in else {
        return Ok(());
    };
    let url = Url::parse(location).map_err(|error| format!("`{location}`: {error}"))?;
    ensure(url.as_str() == location, || {
        format!("`{location}` is `{url}` to a browser")
    })?;
    ensure(location.bytes().all(|byte| byte.is_ascii_graphic()), || {
        format!("`{location}` is no header text")
    })?;
    let own = Url::parse(&inputs.facts.origin.to_string())
        .unwrap()
        .origin();
    let clerks = [
        inputs
            .instance
            .frontend_api_at(&inputs.facts.origin)
            .into_owned(),
        inputs.instance.key.account_portal().to_owned(),
    ];
    let known = |url: &Url| {
        url.origin() == own
            || clerks
                .iter()
                .any(|one| Url::parse(one).unwrap().origin() == url.origin())
    };
    // A development instance answers satellites on this machine.
    let local = inputs.instance.is_development()
        && matches!(url.host_str().map(|host| host.trim_end_matches('.')), Some(host) if host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") || host == "[::1]");
    ensure(known(&url) || local, || {
        format!("`{location}` is elsewhere")
    })?;
    ensure(url.username().is_empty() || local, || {
        format!("`{location}` names a user")
    })?;
    if url.origin() != own {
        let backs: Vec<String> = url
            .query_pairs()
            .filter(|(name, _)| name == "redirect_url")
            .map(|(_, value)| value.into_owned())
            .collect();
        ensure(backs.len() <= 1 || local, || {
            format!("`{location}` has several ways back")
        })?;
        for back in backs.iter().filter(|_| !local) {
            let parsed = Url::parse(back).map_err(|error| format!("`{back}`: {error}"))?;
            ensure(parsed.origin() == own && parsed.as_str() == back, || {
                format!("the way back `{back}` leads elsewhere")
            })?;
            // An application that keeps the path alone is sent to the same place.
            let again = Url::parse(&inputs.facts.origin.to_string())
                .unwrap()
                .join(parsed.path());
            ensure(again.is_ok_and(|again| again.origin() == own), || {
                format!("the path of `{back}` is an address")
            })?;
        }
    }
    Ok(())
}

/// What is relayed has a canonical path below that of the proxy, and goes on as the rest of it;
/// nothing below that path goes to the application.
pub fn relays(inputs: Inputs<'_, '_>, verdict: &Verdict) -> Holds {
    let path = inputs.facts.path.as_str();
    let proxy = inputs.instance.frontend_api_proxy.as_ref();
    let below = proxy.is_some_and(|proxy| format!("{path}/").starts_with(&format!("{proxy}/")));
    if let Decision::Relay(permit) = &verdict.decision {
        let whole = format!(
            "{}{}",
            proxy.map(ProxyPath::as_str).unwrap_or_default(),
            permit.path()
        );
        ensure(
            below && (whole == path || whole == format!("{path}/")),
            || format!("`{path}` is relayed as `{}`", permit.path()),
        )?;
        let own = format!(
            "{}{}",
            inputs.facts.origin,
            proxy.map(ProxyPath::as_str).unwrap_or_default()
        );
        ensure(
            permit.path().starts_with('/') && permit.proxy_url() == own,
            || format!("{permit:?}"),
        )?;
    }
    ensure(!(below && is_forwarded(verdict)), || {
        format!("`{path}` goes to the application")
    })
}

/// `decide` comes to an end, asks nothing twice, and says the same again.
pub fn decides(inputs: Inputs<'_, '_>, oracle: &Oracle<'_>) -> Result<Verdict, String> {
    let verdict = judge(inputs, oracle)?;
    let again = judge(inputs, oracle)?;
    let shown = |verdict: &Verdict| {
        let location = match &verdict.decision {
            Decision::Redirect(redirect) => redirect.location.clone(),
            _ => String::new(),
        };
        format!("{verdict:?} {location} {:?}", verdict.set_cookies)
    };
    ensure(shown(&verdict) == shown(&again), || {
        "a second answer differs".to_owned()
    })?;
    redirects_stay(inputs, &verdict)?;
    identity_is_ours(inputs, &verdict)?;
    relays(inputs, &verdict)?;
    orders_are_the_persons_own(inputs, &verdict)?;
    Ok(verdict)
}

/// What changes somebody's sessions, or hands out tokens, was asked for by a page of this very origin,
/// without a token in a header, and by whoever it is about.
pub fn orders_are_the_persons_own(inputs: Inputs<'_, '_>, verdict: &Verdict) -> Holds {
    let Decision::Serve(order) = &verdict.decision else {
        return Ok(());
    };
    let facts = inputs.facts;
    let changes_all = match order.task() {
        Task::Webhook => return Ok(()),
        Task::SignOut(end) => end.extent == Extent::Everywhere,
        Task::Revoke(_) | Task::RevokeOthers | Task::Switch { .. } => true,
        Task::Sessions(_) | Task::Token(_) | Task::Template(_) => false,
    };
    let origin = facts.headers.get("origin").map(HeaderValue::as_bytes);
    let own = facts.origin.to_string();
    let from_here = match origin {
        Some(origin) => {
            origin == own.as_bytes() && facts.headers.get_all("origin").iter().count() == 1
        }
        None => facts
            .headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin"),
    };
    let reads = matches!(order.task(), Task::Sessions(_)) && *facts.method != Method::POST;
    let posts = *facts.method == Method::POST && from_here;
    ensure(reads || posts, || format!("{order:?} came from elsewhere"))?;
    let acts = order.owner().is_some_and(Owner::is_impersonated);
    ensure(!(changes_all && acts), || {
        format!("{order:?} of somebody who acts in another's name")
    })?;
    let bearer = facts.headers.get(http::header::AUTHORIZATION);
    let bearer = bearer.is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
    ensure(!bearer, || format!("{order:?} by a token in a header"))?;
    let who = verdict
        .who
        .as_ref()
        .map(|who| (Some(who.user.as_str()), who.session.as_deref()));
    let owner = order
        .owner()
        .map(|owner| (Some(owner.user()), Some(owner.session())));
    ensure(owner.is_none() || owner == who, || {
        format!("{order:?} is not about {who:?}")
    })
}

/// A seal goes out beside cookies that Clerk has just sent, and with nothing else.
pub fn seals_only_what_came_from_clerk(verdict: &Verdict) -> Holds {
    let sealed = verdict
        .keepsakes
        .iter()
        .any(|kept| matches!(kept, Keepsake::Seal(_)));
    let session = |line: &String| line.starts_with("__session");
    ensure(!sealed || verdict.set_cookies.iter().any(session), || {
        format!("sealed without a session of Clerk's: {verdict:?}")
    })
}

/// Without a good signature nobody gets past a route that asks something.
pub fn only_good_signatures_open(inputs: Inputs<'_, '_>, verdict: &Verdict, good: bool) -> Holds {
    let facts = inputs.facts;
    let found = inputs
        .policy
        .find(facts.method, facts.host.name(), &facts.path);
    let open = inputs.policy.route(found.route).requirement.is_open() && found.stricter.is_empty();
    ensure(good || open || !is_forwarded(verdict), || {
        format!("{} went on without a good signature", facts.path)
    })?;
    let ordered = matches!(&verdict.decision, Decision::Serve(order) if order.owner().is_some());
    ensure(good || !ordered, || {
        format!("{} was ordered without a good signature", facts.path)
    })
}

/// A header map of lines, as far as they are any.
pub fn header_map<'l>(lines: impl IntoIterator<Item = (&'l str, &'l [u8])>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// A configuration that is accepted compiles, shows itself, and says the same when it is read again.
///
/// Gives a sign of what was said of it.
pub fn configuration(text: &str) -> Result<String, String> {
    let load = || {
        let surroundings = Surroundings {
            environment: &Vec::new(),
            flags: &[],
            files: &|_| Err(std::io::ErrorKind::NotFound.into()),
            now_ms: NOW_MS,
        };
        config::load(&Source::new("gate.toml", text), &surroundings)
    };
    match (load(), load()) {
        (Ok(once), Ok(again)) => {
            let table = config::route_table(&once.config);
            ensure(table == config::route_table(&again.config), || {
                "two readings differ".to_owned()
            })?;
            let routes = once.config.policy.routes().to_vec();
            let policy = Policy::compile(routes, PathReading::Leniently)
                .map_err(|error| format!("it does not compile: {error}"))?;
            for raw in ["/", "/admin", "/public/..;/ADMIN.json", "/%252e%252e/x%3Fy"] {
                let path = CanonicalPath::parse(raw).unwrap();
                let found = policy.find(&Method::GET, "app.example.com", &path);
                let exact = once
                    .config
                    .policy
                    .find(&Method::GET, "app.example.com", &path);
                ensure(found.route == exact.route, || {
                    format!("{raw} has two routes")
                })?;
            }
            ensure(once.warnings.count(Severity::Error) == 0, || {
                "an error was taken for a warning".to_owned()
            })?;
            Ok(titles(&once.warnings.render(Colour::Plain)))
        }
        (Err(once), Err(again)) => {
            let shown = once.render(Colour::Plain);
            ensure(once.count(Severity::Error) > 0, || {
                "refused without an error".to_owned()
            })?;
            ensure(shown == again.render(Colour::Plain), || {
                "two reports differ".to_owned()
            })?;
            Ok(titles(&shown))
        }
        _ => Err("it is accepted and refused".to_owned()),
    }
}

/// What a report complains of, without the names.
fn titles(report: &str) -> String {
    let mut titles: Vec<String> = report
        .lines()
        .filter(|line| line.starts_with("error") || line.starts_with("warning"))
        .map(|line| line.split('`').step_by(2).collect())
        .collect();
    titles.sort();
    titles.dedup();
    titles.join("; ")
}
