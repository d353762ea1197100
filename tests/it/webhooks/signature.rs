//! Whose an event is: the vector and the table of the protocol reference (section 11.1), and more.

use clerk_gate::clerk::webhooks::{Claim, Event, EventError, News, SecretError, WebhookSecrets};
use clerk_gate::gate::webhooks::SeenEvents;
use http::{HeaderMap, HeaderName};
use serde_json::json;

use super::{OTHER_SECRET, SECRET, sign};

const ID: &str = "msg_2abc";
const SENT: u64 = 1_760_000_000;
const BODY: &str = r#"{"data":{"id":"sess_1","object":"session","status":"revoked","user_id":"user_1"},"object":"event","type":"session.revoked","timestamp":1760000000123,"instance_id":"ins_1"}"#;
const SIGNATURE: &str = "v1,oAXKHamyrn03jBz/HKbK+/DWlliHO4Sdg247HbJjFpU=";

type Lines = Vec<(&'static str, String)>;

fn lines(signature: &str) -> Lines {
    vec![
        ("svix-id", ID.to_owned()),
        ("svix-timestamp", SENT.to_string()),
        ("svix-signature", signature.to_owned()),
    ]
}

/// The lines with one of them changed; without it, where `value` is empty.
fn with(name: &'static str, value: &str) -> Lines {
    let mut lines = lines(SIGNATURE);
    lines.retain(|(other, _)| *other != name);
    if !value.is_empty() {
        lines.push((name, value.to_owned()));
    }
    lines
}

fn checked(lines: &Lines, now: u64, secrets: &[&str], body: &str) -> Result<Event, EventError> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    let secrets = WebhookSecrets::parse(secrets.iter().copied()).unwrap();
    Claim::read(&headers, now * 1000 + 999)?.verify(&secrets, body.as_bytes())
}

#[test]
fn the_published_vector_and_each_of_its_variations_is_judged_as_clerks_sdk_does() {
    let bare = SIGNATURE.strip_prefix("v1,").unwrap();
    let names: Lines = lines(SIGNATURE)
        .into_iter()
        .zip(["webhook-id", "webhook-timestamp", "webhook-signature"])
        .map(|((_, value), name)| (name, value))
        .collect();
    let cases: [(&str, Lines, u64, Result<(), EventError>); 19] = [
        ("as it is", lines(SIGNATURE), SENT, Ok(())),
        ("the names of the standard", names, SENT, Ok(())),
        (
            "one of two",
            lines(&format!("v1,AAAA {SIGNATURE}")),
            SENT,
            Ok(()),
        ),
        (
            "another version too",
            lines(&format!("v1a,xx {SIGNATURE}")),
            SENT,
            Ok(()),
        ),
        ("spaces around", with("svix-id", " msg_2abc "), SENT, Ok(())),
        (
            "v2",
            lines(&format!("v2,{bare}")),
            SENT,
            Err(EventError::Signature),
        ),
        ("no version", lines(bare), SENT, Err(EventError::Signature)),
        (
            "no signature fits",
            lines(&sign(OTHER_SECRET, ID, SENT, BODY)),
            SENT,
            Err(EventError::Signature),
        ),
        ("300 seconds later", lines(SIGNATURE), SENT + 300, Ok(())),
        (
            "301 seconds later",
            lines(SIGNATURE),
            SENT + 301,
            Err(EventError::TooOld),
        ),
        ("300 seconds before", lines(SIGNATURE), SENT - 300, Ok(())),
        (
            "301 seconds before",
            lines(SIGNATURE),
            SENT - 301,
            Err(EventError::TooNew),
        ),
        (
            "another id",
            with("svix-id", "msg_2abd"),
            SENT,
            Err(EventError::Signature),
        ),
        (
            "another time",
            with("svix-timestamp", "1760000001"),
            SENT,
            Err(EventError::Signature),
        ),
        (
            "no time",
            with("svix-timestamp", "abc"),
            SENT,
            Err(EventError::Timestamp),
        ),
        (
            "a sign",
            with("svix-timestamp", "+1760000000"),
            SENT,
            Err(EventError::Timestamp),
        ),
        ("no id", with("svix-id", ""), SENT, Err(EventError::Headers)),
        (
            "an empty signature",
            with("svix-signature", " "),
            SENT,
            Err(EventError::Headers),
        ),
        (
            "an endless id",
            with("svix-id", &"m".repeat(129)),
            SENT,
            Err(EventError::Headers),
        ),
    ];
    for (name, lines, now, expected) in cases {
        let found = checked(&lines, now, &[SECRET], BODY);
        assert_eq!(found.map(|_| ()), expected, "{name}");
    }
}

#[test]
fn a_header_that_comes_twice_is_none() {
    for name in ["svix-id", "svix-timestamp", "svix-signature"] {
        let mut doubled = lines(SIGNATURE);
        let again = doubled.iter().find(|line| line.0 == name).unwrap().clone();
        doubled.push(again);
        let found = checked(&doubled, SENT, &[SECRET], BODY);
        assert_eq!(found, Err(EventError::Headers), "{name}");
    }
}

#[test]
fn the_secret_may_go_without_its_prefix_and_be_one_of_several() {
    let bare = SECRET.strip_prefix("whsec_").unwrap();
    for secrets in [
        vec![bare],
        vec![OTHER_SECRET, SECRET],
        vec![SECRET, OTHER_SECRET],
    ] {
        let found = checked(&lines(SIGNATURE), SENT, &secrets, BODY);
        assert!(found.is_ok(), "{found:?}");
    }
    let found = checked(&lines(SIGNATURE), SENT, &[OTHER_SECRET], BODY);
    assert_eq!(found, Err(EventError::Signature));
}

#[test]
fn one_changed_byte_anywhere_breaks_the_signature() {
    for at in 0..BODY.len() {
        let mut bytes = BODY.as_bytes().to_vec();
        bytes[at] ^= 1;
        let body = String::from_utf8(bytes).unwrap();
        let found = checked(&lines(SIGNATURE), SENT, &[SECRET], &body);
        assert_eq!(found, Err(EventError::Signature), "{at}");
    }
}

#[test]
fn a_weak_or_broken_secret_is_none() {
    for (text, error) in [
        ("whsec_", SecretError::Short),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", SecretError::Short),
        (
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZW",
            SecretError::Encoding,
        ),
        (
            "sk_test_0000000000000000000000000000000000000000",
            SecretError::Encoding,
        ),
    ] {
        let found = WebhookSecrets::parse([text]).map(|_| ());
        assert_eq!(found, Err(error), "{text}");
    }
    let shown = format!("{:?}", WebhookSecrets::parse([SECRET]).unwrap());
    assert_eq!(shown, "WebhookSecrets(1)");
}

/// What a signed event of this type, with this data and at this time of Clerk's, says.
fn said(kind: &str, data: &serde_json::Value, at: Option<u64>) -> Result<Event, EventError> {
    let body = json!({ "type": kind, "data": data, "timestamp": at }).to_string();
    let signature = sign(SECRET, ID, SENT, &body);
    checked(&lines(&signature), SENT, &[SECRET], &body)
}

#[test]
fn an_event_says_who_is_out_and_whose_tokens_are_of_yesterday() {
    let at = SENT * 1000 - 500;
    let member = json!({ "public_user_data": { "user_id": "user_1" }, "role": "org:member" });
    let session = json!({ "id": "sess_1", "user_id": "user_1" });
    let over = News::SessionOver {
        session: "sess_1".to_owned(),
        user: Some("user_1".to_owned()),
    };
    let out = News::UserOut {
        user: "user_1".to_owned(),
    };
    let changed = News::UserChanged {
        user: "user_1".to_owned(),
        before_s: SENT,
    };
    let gone = News::OrganizationGone {
        organization: "org_1".to_owned(),
        before_s: SENT,
    };
    let banned = |banned: serde_json::Value| json!({ "id": "user_1", "banned": banned });
    let deleted = |id: &str| json!({ "id": id, "deleted": true });
    for (kind, data, news) in [
        ("session.ended", session.clone(), Some(over.clone())),
        ("session.removed", session.clone(), Some(over.clone())),
        ("session.revoked", session.clone(), Some(over)),
        ("session.created", session, None),
        ("user.deleted", deleted("user_1"), Some(out.clone())),
        ("user.updated", banned(json!(true)), Some(out)),
        ("user.updated", banned(json!(false)), None),
        ("user.updated", json!({ "id": "user_1" }), None),
        (
            "organizationMembership.deleted",
            member.clone(),
            Some(changed.clone()),
        ),
        (
            "organizationMembership.updated",
            member.clone(),
            Some(changed),
        ),
        ("organizationMembership.created", member, None),
        ("organization.deleted", deleted("org_1"), Some(gone)),
        ("email.created", json!({}), None),
    ] {
        let event = said(kind, &data, Some(at)).unwrap();
        assert_eq!((event.name.as_str(), event.news), (kind, news));
    }
}

#[test]
fn an_event_that_does_not_say_what_it_is_about_is_none() {
    for (kind, data) in [
        ("session.ended", json!({ "user_id": "user_1" })),
        ("session.ended", json!({ "id": "" })),
        ("session.ended", json!({ "id": "sess_1\n" })),
        ("session.ended", json!(null)),
        ("user.deleted", json!({ "id": "u".repeat(129) })),
        ("user.updated", json!({ "banned": true })),
        (
            "organizationMembership.updated",
            json!({ "public_user_data": {} }),
        ),
        ("organization.deleted", json!({ "id": 7 })),
        ("session ended", json!({ "id": "sess_1" })),
        ("", json!({ "id": "sess_1" })),
    ] {
        let found = said(kind, &data, Some(SENT * 1000));
        assert_eq!(found, Err(EventError::Content), "{kind} {data}");
    }
    for body in [
        "",
        "[]",
        "{",
        "null",
        r#"{"type":"session.ended"}"#,
        "\u{0}",
    ] {
        let signature = sign(SECRET, ID, SENT, body);
        let found = checked(&lines(&signature), SENT, &[SECRET], body);
        assert_eq!(found, Err(EventError::Content), "{body}");
    }
}

#[test]
fn the_time_of_a_change_is_clerks_and_never_far_ahead() {
    let member = json!({ "public_user_data": { "user_id": "user_1" } });
    for (at, before) in [
        (Some(SENT * 1000), SENT),
        (Some(SENT * 1000 + 1), SENT + 1),
        (Some(SENT * 1000 - 3_600_000), SENT - 3600),
        (None, SENT + 1),
        (Some(u64::MAX), SENT + 300),
    ] {
        let event = said("organizationMembership.updated", &member, at).unwrap();
        let Some(News::UserChanged { before_s, .. }) = event.news else {
            panic!("{event:?}");
        };
        assert_eq!(before_s, before, "{at:?}");
    }
}

#[test]
fn an_event_counts_once_and_a_full_memory_forgets_nothing_that_could_come_again() {
    let seen = SeenEvents::of(2);
    assert!(seen.note("a", 10, 0));
    assert!(!seen.note("a", 10, 0));
    assert!(seen.note("b", 20, 0));
    // It is full: a third is new each time, and the others are still known.
    assert!(seen.note("c", 30, 5) && seen.note("c", 30, 5));
    assert!(!seen.note("a", 10, 5) && !seen.note("b", 20, 5));
    // The first has had its time.
    assert!(seen.note("c", 30, 11) && !seen.note("c", 30, 11));
    assert!(!seen.note("b", 20, 11));
}
