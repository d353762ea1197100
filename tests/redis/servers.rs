//! The ways to a Redis: by Sentinels, in a Cluster, over TLS, and as somebody who may do little.

use std::time::Duration;

use clerk_gate::store::redis::{Addresses, OnError, Servers};
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::replicas::{advance, lets_in, replica, sealed, signs_out_everywhere, three};
use crate::server::{MASTER, Server, free_port};
use crate::support::{START_MS, World, refreshable};
use crate::{eventually, gate_at};

/// Long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Three gates that count at these servers, ten in an hour, and let nobody through who is not counted.
async fn counting(at: &Addresses) -> Vec<World> {
    let mut worlds = Vec::new();
    for _ in 0..3 {
        let world = gate_at(at.clone(), TIMEOUT, OnError::Refuse).await;
        eventually("counts are to be had", async || {
            status(&world, "192.0.2.9").await != StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        world.upstream.take_received();
        worlds.push(world);
    }
    worlds
}

async fn status(world: &World, from: &str) -> StatusCode {
    let call = world.get("/x").header("x-forwarded-for", from);
    call.send().await.status
}

/// Of 64 requests at once ten get through.
async fn assert_exact(worlds: &[World], from: &'static str) {
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..64 {
        let call = worlds[number % worlds.len()].get("/x");
        let call = call.header("x-forwarded-for", from);
        calls.spawn(async move { call.send().await.status.as_u16() });
    }
    let mut statuses = calls.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[..10], [200; 10]);
    assert_eq!(statuses[10..], [429; 54]);
    let arrived = worlds.iter().map(|w| w.upstream.take_received().len());
    assert_eq!(arrived.sum::<usize>(), 10);
}

/// Sign-outs are heard of, now and by whoever comes later, and Clerk is asked once.
async fn assert_shared(at: &Addresses) {
    let worlds = three(at, TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let [ada, mel] = ["ada", "mel"].map(|person| clerk.sign_in(person, None));
    signs_out_everywhere(&worlds[0], &sealed(&worlds[0], &ada, START_MS)).await;
    let began = Instant::now();
    for world in &worlds {
        eventually("the session is over", async || !lets_in(world, &ada).await).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let late = replica(at.clone(), TIMEOUT, worlds.first()).start().await;
    assert!(!lets_in(&late, &ada).await);
    advance(&worlds, 70_000);
    let line = refreshable(&worlds[0], &mel);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..30 {
        let call = worlds[number % 3].get("/members").cookie(&line);
        calls.spawn(call.send());
    }
    for answer in calls.join_all().await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(clerk.calls(clerk_gate::standin::Endpoint::Refresh), 1);
}

/// The server that this Sentinel names, and nobody else: another one is away.
fn sentinels(sentinel: &Server) -> Addresses {
    sentinel
        .ask::<String>("ACL SETUSER gate on >password resetchannels -@all +role +sentinel|masters");
    Addresses {
        servers: Servers::Sentinel {
            sentinels: vec![login("redis://127.0.0.1:1"), login(&sentinel.url())],
            master: format!("redis://gate:password@{MASTER}").into(),
        },
        roots: None,
    }
}

/// An address with a name and a password in it.
fn login(url: &str) -> SecretString {
    url.replace("redis://", "redis://gate:password@").into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_that_sentinels_name_is_asked_and_the_next_one_when_it_fails() {
    let mut master = Server::start();
    let port = master.port().to_string();
    let replica = Server::with(|_| {
        ["--replicaof", "127.0.0.1", &port]
            .map(str::to_owned)
            .into()
    });
    eventually("the replica follows", async || {
        replica
            .ask::<String>("INFO replication")
            .contains("master_link_status:up")
    })
    .await;
    for server in [&master, &replica] {
        server.ask::<String>(&format!("{} +role", documented()));
    }
    let sentinel = Server::sentinel(&master);
    let at = sentinels(&sentinel);
    assert_shared(&at).await;
    let worlds = counting(&at).await;
    assert_exact(&worlds, "192.0.2.1").await;
    let three = three(&at, TIMEOUT).await;
    let ada = three[0].clerk.sign_in("ada", None);
    for gate in &three {
        assert!(lets_in(gate, &ada).await);
    }
    eventually("the sentinel knows the replica", async || {
        let known = format!("SENTINEL MASTER {MASTER}");
        let known: Vec<String> = sentinel.ask(&known);
        known.windows(2).any(|pair| pair == ["num-slaves", "1"])
    })
    .await;
    // What was counted has arrived at the replica.
    master.ask::<u8>("WAIT 1 5000");
    master.stop();
    for world in &worlds {
        eventually("counts are to be had again", async || {
            status(world, "192.0.2.1").await == StatusCode::TOO_MANY_REQUESTS
        })
        .await;
    }
    assert_exact(&worlds, "192.0.2.2").await;
    signs_out_everywhere(&three[0], &sealed(&three[0], &ada, START_MS)).await;
    for gate in &three {
        eventually("the session is over", async || !lets_in(gate, &ada).await).await;
    }
    assert_eq!(replica.ask::<Vec<redis::Value>>("ROLE").len(), 3);
}

/// A Cluster of three that each have a third of the slots.
pub async fn cluster() -> Vec<Server> {
    let servers: Vec<(Server, u16)> = (0..3)
        .map(|_| {
            let bus = free_port();
            let server = Server::with(|_| {
                let of_cluster = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-announce-ip",
                    "127.0.0.1",
                ];
                let port = ["--cluster-port", &bus.to_string()].map(str::to_owned);
                of_cluster
                    .map(str::to_owned)
                    .into_iter()
                    .chain(port)
                    .collect()
            });
            (server, bus)
        })
        .collect();
    for ((server, _), slots) in servers.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
        server.ask::<String>(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
    }
    let first = &servers[0].0;
    for (server, bus) in &servers[1..] {
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port());
        first.ask::<String>(&meet);
    }
    for (server, _) in &servers {
        eventually("the cluster is whole", async || {
            let info: String = server.ask("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }
    servers.into_iter().map(|(server, _)| server).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_asked_where_the_slot_of_each_name_is() {
    let servers = cluster().await;
    for server in &servers {
        server.ask::<String>(&format!("{} +cluster|slots", documented()));
    }
    let at = Addresses {
        servers: Servers::Cluster(vec![login("redis://127.0.0.1:1"), login(&servers[1].url())]),
        roots: None,
    };
    assert_shared(&at).await;
    let worlds = counting(&at).await;
    let addresses = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.5",
        "192.0.2.6",
    ];
    for from in addresses {
        assert_exact(&worlds, from).await;
    }
    let counts = servers.iter().map(Server::counts);
    let counts: Vec<usize> = counts.collect();
    assert_eq!(counts.iter().sum::<usize>(), 7, "{counts:?}");
    assert!(
        counts.iter().filter(|count| **count > 0).count() > 1,
        "{counts:?}"
    );
}

/// A certificate for a server on this machine, its key, and the authority that has signed it, in PEM.
fn certificate() -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let signed = params.signed_by(&key, &authority).unwrap();
    [signed.pem(), key.serialize_pem(), authority.pem()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_certificate_is_of_ones_own_authority_is_asked_and_no_other() {
    let [certificate, key, authority] = certificate();
    let server = Server::encrypted(&certificate, &key);
    let at = |roots: Option<String>| Addresses {
        servers: Servers::One(server.url().into()),
        roots: roots.map(|pem| pem.into_bytes().into()),
    };
    let own = at(Some(authority));
    assert_shared(&own).await;
    assert_exact(&counting(&own).await, "192.0.2.1").await;
    let [_, _, another] = self::certificate();
    for roots in [None, Some(another)] {
        let world = gate_at(at(roots), TIMEOUT, OnError::Refuse).await;
        assert_eq!(
            status(&world, "192.0.2.1").await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        world.upstream.assert_untouched();
    }
}

/// What the reference has people tell their Redis.
fn documented() -> String {
    let page = include_str!("../../docs/reference/configuration.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER "));
    line.expect("a line in the reference").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_may_do_what_the_reference_says_may_do_enough() {
    let server = Server::start();
    let line = documented();
    assert!(line.starts_with("ACL SETUSER gate on >password "), "{line}");
    server.ask::<String>(&line);
    server.ask::<String>("ACL SETUSER default off");
    let login = login(&server.url());
    let at = Addresses {
        servers: Servers::One(login.clone()),
        roots: None,
    };
    assert_shared(&at).await;
    assert_exact(&counting(&at).await, "192.0.2.1").await;
    let client = redis::Client::open(login.expose_secret()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for refused in ["FLUSHALL", "KEYS *", "SET other 1", "CONFIG GET *"] {
        let mut words = refused.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            asked.arg(word);
        });
        let error = asked.exec(&mut connection).unwrap_err();
        assert_eq!(error.code(), Some("NOPERM"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_may_not_do_keeps_nothing_else_from_being_done() {
    let server = Server::start();
    server.ask::<String>(&format!("{} -xtrim", documented()));
    let at = Addresses {
        servers: Servers::One(login(&server.url())),
        roots: None,
    };
    assert_shared(&at).await;
    assert_eq!(server.ask::<usize>("XLEN clerk-gate:{notices}"), 1);
    // One that may count and no more.
    server.ask::<String>("ACL SETUSER gate -xadd -xread -xrange -get -del");
    let worlds = counting(&at).await;
    for world in &worlds {
        let denials = world.service.gate.denials();
        denials.deny_session("sess_1", START_MS);
    }
    assert_exact(&worlds, "192.0.2.1").await;
    assert_exact(&worlds, "192.0.2.2").await;
    assert_eq!(server.ask::<usize>("XLEN clerk-gate:{notices}"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_this_machine_is_an_address_too() {
    let mut path = String::new();
    let server = Server::with(|folder| {
        path = folder.join("redis.sock").to_str().unwrap().to_owned();
        vec!["--unixsocket".to_owned(), path.clone()]
    });
    let at = Addresses::one(&format!("unix://{path}"));
    assert_exact(&counting(&at).await, "192.0.2.1").await;
    assert_eq!(server.counts(), 2);
}
