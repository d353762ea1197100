//! `clerk-gate explain --request-id`, as an operator types it while a gate runs.

use std::net::{SocketAddr, TcpListener as Closed};

use super::*;
use crate::support::cookies;
use crate::support::program::{program, run};
use crate::support::upstream::RecordingUpstream;
use crate::support::wire::WireUpstream;

/// What the program says of this id, and the code that it ends with.
fn asked(admin: &str, id: &str, more: &[&str]) -> (i32, String, String) {
    let mut command = program();
    command.args(["explain", "--request-id", id, "--admin", admin]);
    run(command.args(more))
}

fn at(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// What stands behind a word at the beginning of a line.
fn said<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(first, _)| *first == word)
        .map(|(_, rest)| rest.trim())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_program_tells_is_what_was_decided() {
    let world = builder().start().await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    let calls = [
        ("public", world.get("/public/1?a=secret")),
        ("member", world.get("/members/1").cookie(&cookies(&ada))),
        ("bearer", world.get("/members/1").bearer(&mel.token)),
        ("nobody", world.get("/members/1")),
        ("page", world.visit("/members/1")),
        ("broken", world.get("/members/1").bearer("not-a-token")),
        ("admin", world.get("/admin/1").cookie(&cookies(&ada))),
        ("not-admin", world.get("/admin/1").cookie(&cookies(&mel))),
        ("folded", world.get("/ADMIN/1").cookie(&cookies(&mel))),
        ("own", world.get("/_gate/me").cookie(&cookies(&ada))),
        ("few-1", world.get("/few/1")),
        ("few-2", world.get("/few/1")),
        ("unread", world.get("/%zz")),
    ];
    let (mut told, mut read) = (0, 0);
    for (id, call) in calls {
        let answer = call.header("x-request-id", id).send().await;
        let (before, arrived) = (world.clerk.calls_total(), world.upstream.received().len());
        let kept = decisions(&world, &format!("?request-id={id}")).await;
        let [kept] = &kept[..] else {
            panic!("{kept:?}")
        };

        let (code, json, err) = asked(&at(world.admin), id, &["--json"]);
        assert_eq!((code, err.as_str()), (0, ""), "{id}");
        let json: Value = serde_json::from_str(&json).unwrap();
        let why = &json["decisions"][0];
        assert_eq!(&why["decision"], kept, "{id}");
        assert_eq!(kept["status"], answer.status.as_u16(), "{id}");
        let reason = answer.header("x-clerk-auth-reason");
        if answer.status.is_client_error() {
            assert_eq!(kept["reason"].as_str(), reason, "{id}");
        }

        let (code, text, err) = asked(&at(world.admin), id, &[]);
        assert_eq!((code, err.as_str()), (0, ""), "{id}");
        let decided = said(&text, "decided").unwrap();
        let field = |name: &str| kept[name].as_str().unwrap();
        let fell = format!(
            "{}: {}, {}",
            field("time"),
            field("decision"),
            kept["status"]
        );
        assert!(decided.starts_with(&fell), "{fell}: {text}");
        assert_eq!(said(&text, "id"), Some(id), "{text}");
        let route =
            Some(field("route")).filter(|name| *name != "(own pages)" && *name != "(unread)");
        assert_eq!(said(&text, "route"), route, "{text}");
        if let Some(reading) = kept["reading"].as_str() {
            let also = said(&text, "also").unwrap();
            assert!(also.ends_with(&format!("({reading} reading)")), "{text}");
            read += 1;
        }
        for secret in ["secret", &ada.token, &mel.token, "not-a-token"] {
            assert!(!text.contains(secret) && !json.to_string().contains(secret));
        }
        assert_eq!(world.clerk.calls_total(), before, "Clerk is not asked");
        assert_eq!(world.upstream.received().len(), arrived, "nor anybody else");
        told += 1;
    }
    assert_eq!((told, read), (13, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_each_thing_that_keeps_it_from_telling_there_is_one_message_and_the_code_1() {
    let one = |config: &mut clerk_gate::config::Config| config.decisions = 1;
    let world = builder().configure(one).start().await;
    let silent = builder().configure(|config| config.decisions = 0);
    let silent = silent.start().await;
    for id in ["older", "younger"] {
        for world in [&world, &silent] {
            let call = world.get("/public/1").header("x-request-id", id);
            assert_eq!(call.send().await.status, StatusCode::OK);
        }
    }
    let (code, out, _) = asked(&at(world.admin), "younger", &[]);
    assert_eq!((code, said(&out, "id")), (0, Some("younger")));
    let stranger = RecordingUpstream::start().await;
    stranger.answers(|_| {
        let answer = http::Response::builder().status(404);
        answer.body(bytes::Bytes::from_static(b"gone")).unwrap()
    });
    let mute = WireUpstream::start().await;
    let nobody = Closed::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let too_old =
        "hint: it may be too old: `[admin] decisions` says how many of the last are kept\n";
    let which = "hint: name the admin listener of the gate: `--admin http://127.0.0.1:9901`\n";
    let none = "hint: its `[admin] decisions` is 0: it says how many of the last are kept\n";
    let unkept = "keeps no decision of this request id";
    let cannot = |why: &str| format!("cannot be asked: {why}");
    let rows = [
        (at(world.admin), "unheard-of", unkept.to_owned(), too_old),
        (at(world.admin), "older", unkept.to_owned(), too_old),
        (at(world.admin), "a b&c=d", unkept.to_owned(), too_old),
        (
            at(silent.admin),
            "younger",
            "keeps no decisions".to_owned(),
            none,
        ),
        (
            at(nobody),
            "younger",
            cannot("cannot connect: Connection refused (os error 111)"),
            which,
        ),
        (
            at(mute.address),
            "younger",
            cannot("no answer within 3s"),
            which,
        ),
        (
            at(stranger.address),
            "younger",
            cannot("it answered 404 Not Found"),
            which,
        ),
        // Where everybody asks is no window.
        (
            at(world.gate),
            "younger",
            cannot("it answered 401 Unauthorized"),
            which,
        ),
        (
            format!("https://{}", world.admin),
            "younger",
            cannot("this is no `http` address"),
            which,
        ),
    ];
    assert_eq!(rows.len(), 9);
    for (admin, id, why, hint) in rows {
        let shown = admin.parse::<http::Uri>().unwrap();
        let expected = format!("error: `{shown}` {why}\n{hint}");
        for more in [&[][..], &["--json"]] {
            let ended = asked(&admin, id, more);
            assert_eq!(ended, (1, String::new(), expected.clone()), "{admin} {id}");
        }
    }
}

#[test]
fn an_id_stands_alone() {
    for arguments in [
        &["--request-id", ""][..],
        &["--request-id"],
        &["GET", "/x", "--request-id", "r-1"],
        &["--request-id", "r-1", "--as", "nobody"],
        &["--request-id", "r-1", "--admin", "not an address"],
        &["GET", "/x", "--admin", "http://127.0.0.1:9901"],
    ] {
        let (code, out, err) = run(program().arg("explain").args(arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    }
}
