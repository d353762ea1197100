//! Servers that are not there, hang, reset, lie or fail, one beside others that are well.

use clerk_gate::upstream::group::Ejection;
use http::{Method, Response};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// A server that is not there yet: its port is taken, and nobody listens.
struct Absent(TcpSocket);

impl Absent {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// It is there from now on, and answers everything.
    fn appears(self) {
        serve(self.0.listen(64).unwrap(), |mut wire| async move {
            while wire.next_head().await.is_some() {
                wire.try_send(OK).await;
            }
        });
    }
}

fn serve<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    one: impl Fn(Wire) -> F + Send + 'static,
) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one(Wire::over(stream)));
        }
    });
}

/// A server of which every connection is dealt with like this.
async fn server<F: Future<Output = ()> + Send + 'static>(
    one: impl Fn(Wire) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, one);
    address
}

/// Two failures, ten seconds.
fn soon(config: &mut Config) {
    config.upstreams[0].group.ejection = Some(Ejection {
        failures: 2,
        ..Ejection::default()
    });
}

const EJECTED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn where_a_server_is_not_there_another_one_answers_whatever_was_asked() {
    let absent = Absent::new();
    let [well] = recording::<1>().await;
    let world = world_before(&[absent.address(), well.address], soon).await;
    for _ in 0..3 {
        let posted = world.request(Method::POST, "/public/form").body("a=1");
        assert_eq!(posted.send().await.status, StatusCode::OK);
        assert_eq!(well.only().body, "a=1", "once, and whole");
        well.take_received();
        assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
        assert_eq!(well.take_received().len(), 1);
    }
    assert!(!is_open(&world, absent.address()).await);
    assert!(is_open(&world, well.address).await);
    let series = of_server("clerk_gate_upstream_ejections_total", absent.address());
    assert!((metric(&world, &series).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_server_that_is_back_is_asked_again_by_itself() {
    let absent = Absent::new();
    let address = absent.address();
    let [well] = recording::<1>().await;
    let world = world_before(&[address, well.address], soon).await;
    for _ in 0..4 {
        world.get("/public/x").send().await;
    }
    assert!(!is_open(&world, address).await);
    // Its time is over, and it is still away: the first failure is enough.
    later(EJECTED).await;
    assert!(is_open(&world, address).await);
    for _ in 0..2 {
        assert_eq!(world.get("/public/x").send().await.body, "upstream");
    }
    assert!(!is_open(&world, address).await);
    absent.appears();
    later(EJECTED).await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(world.get("/public/x").send().await.body);
    }
    bodies.sort();
    assert_eq!(bodies, ["ok", "ok", "upstream", "upstream"]);
    assert!(is_open(&world, address).await);
}

/// What came on a connection is not said again to anybody, however harmless: the server may have done
/// what was asked.
#[tokio::test]
async fn what_reached_a_server_reaches_no_other() {
    for (name, reason) in [
        ("close", (502, "upstream-malformed")),
        ("reset", (502, "upstream-unreachable")),
        ("lie", (502, "upstream-malformed")),
        ("hang", (504, "upstream-timeout")),
    ] {
        let bad = server(move |mut wire| async move {
            wire.head().await;
            match name {
                "reset" => wire.reset(),
                "lie" => {
                    wire.try_send("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n")
                        .await;
                }
                "hang" => drop(wire.closes_within(Duration::from_secs(15)).await),
                _ => drop(wire),
            }
        })
        .await;
        let [well] = recording::<1>().await;
        let world = world_before(&[bad, well.address], move |config| {
            soon(config);
            if name == "hang" {
                config.upstreams[0].response_timeout = Duration::from_millis(200);
            }
        })
        .await;
        let mut refused = Vec::new();
        for method in ["GET", "GET", "POST", "POST", "GET", "POST"] {
            let call = world.request(method.parse().unwrap(), "/public/x");
            let answer = call.send().await;
            if answer.status != StatusCode::OK {
                refused.push(outcome(&answer));
                well.assert_untouched();
            }
            well.take_received();
        }
        // Every second request, until there were two.
        let expected = (reason.0, reason.1.to_owned());
        assert_eq!(refused, [expected.clone(), expected], "{name}");
        assert!(!is_open(&world, bad).await, "{name}");
    }
}

#[tokio::test]
async fn statuses_are_failures_where_the_operator_says_so() {
    for (statuses, open) in [(vec![], true), (vec![503], false), (vec![502, 504], true)] {
        let servers = recording::<2>().await;
        servers[0].answers(|_| {
            let answer = Response::builder().status(503);
            answer.body(bytes::Bytes::from_static(b"busy")).unwrap()
        });
        let world = world_before(&servers.each_ref().map(|s| s.address), |config| {
            config.upstreams[0].group.ejection = Some(Ejection {
                failures: 2,
                statuses,
                ..Ejection::default()
            });
        })
        .await;
        let mut busy = 0;
        for _ in 0..8 {
            let answer = world.get("/public/x").send().await;
            busy += usize::from(answer.body == "busy");
        }
        assert_eq!(busy, if open { 4 } else { 2 }, "they go on as they are");
        assert_eq!(is_open(&world, servers[0].address).await, open);
    }
}

#[tokio::test]
async fn a_success_begins_the_count_again() {
    let servers = recording::<2>().await;
    let failing = std::sync::atomic::AtomicUsize::new(0);
    servers[0].answers(move |_| {
        let odd = failing
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst)
            .is_multiple_of(2);
        let answer = Response::builder().status(if odd { 503 } else { 200 });
        answer.body(bytes::Bytes::new()).unwrap()
    });
    let world = world_before(&servers.each_ref().map(|s| s.address), |config| {
        config.upstreams[0].group.ejection = Some(Ejection {
            failures: 2,
            statuses: vec![503],
            ..Ejection::default()
        });
    })
    .await;
    for _ in 0..12 {
        world.get("/public/x").send().await;
    }
    assert_eq!(shares(&servers), [6, 6]);
    assert!(is_open(&world, servers[0].address).await);
}

#[tokio::test]
async fn the_last_server_is_never_left_out() {
    let (one, other) = (Absent::new(), Absent::new());
    let world = world_before(&[one.address(), other.address()], soon).await;
    for _ in 0..6 {
        let answer = world.get("/public/x").send().await;
        assert_eq!(outcome(&answer), (502, "upstream-unreachable".to_owned()));
    }
    let open = [
        is_open(&world, one.address()).await,
        is_open(&world, other.address()).await,
    ];
    assert_eq!(open.iter().filter(|open| **open).count(), 1);
    // The first that is back is found at once, if it is the one.
    let (first, second) = (one.address(), other.address());
    one.appears();
    other.appears();
    let answer = world.get("/public/x").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{first} {second}");
}

#[tokio::test]
async fn a_server_by_itself_is_asked_however_often_it_fails() {
    let absent = Absent::new();
    let address = absent.address();
    let world = world_before(&[address], soon).await;
    for _ in 0..5 {
        let answer = world.get("/public/x").send().await;
        assert_eq!(outcome(&answer), (502, "upstream-unreachable".to_owned()));
    }
    assert!(is_open(&world, address).await);
    absent.appears();
    assert_eq!(world.get("/public/x").send().await.body, "ok");
}

#[tokio::test]
async fn what_is_the_clients_fault_is_no_failure_of_the_server() {
    let servers = recording::<2>().await;
    let world = world_before(&servers.each_ref().map(|s| s.address), soon).await;
    let port = world.gate.port();
    for _ in 0..6 {
        let mut client = Wire::connect(world.gate).await;
        client
            .send(format!(
                "POST /public/x HTTP/1.1\r\nhost: localhost:{port}\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nno chunk"
            ))
            .await;
        client.rest().await;
    }
    for server in &servers {
        assert!(is_open(&world, server.address).await);
    }
    shares(&servers);
    for _ in 0..2 {
        assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    }
    assert_eq!(shares(&servers), [1, 1]);
}

/// Whoever is silent in the middle of a body is not answered, and leaves no server out by it.
#[tokio::test]
async fn clients_that_send_no_more_have_no_server_left_out() {
    let servers = recording::<2>().await;
    let world = world_before(&servers.each_ref().map(|s| s.address), |config| {
        soon(config);
        config.upstreams[0].response_timeout = Duration::from_millis(100);
    })
    .await;
    let port = world.gate.port();
    let begun = format!(
        "POST /public/x HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\ncontent-length: 5\r\n\r\nh"
    );
    for _ in 0..6 {
        let mut client = Wire::connect(world.gate).await;
        client.send(&begun).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    }
    for server in &servers {
        assert!(is_open(&world, server.address).await);
    }
}

#[tokio::test]
async fn how_servers_stand_outlives_a_configuration() {
    let absent = Absent::new();
    let [well, new] = recording::<2>().await;
    let world = world_before(&[absent.address(), well.address], soon).await;
    for _ in 0..4 {
        world.get("/public/x").send().await;
    }
    let mut config = world.config.clone();
    before(&mut config, &[well.address, absent.address(), new.address]);
    world.reloader.change_to(config.clone()).unwrap();
    assert!(!is_open(&world, absent.address()).await);
    assert!(is_open(&world, new.address).await);
    // Where nobody is left out any more, that one is not either.
    config.upstreams[0].group.ejection = None;
    world.reloader.change_to(config).unwrap();
    assert!(is_open(&world, absent.address()).await);
}
