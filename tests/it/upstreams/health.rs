//! Servers that are asked whether they are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use clerk_gate::upstream::health::HealthCheck;
use http::Response;

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn rule() -> HealthCheck {
    HealthCheck {
        path: "/healthz?full=1".parse().unwrap(),
        host: None,
        interval: INTERVAL,
        timeout: Duration::from_secs(2),
        expect: vec![200, 204],
        healthy: 2,
        unhealthy: 3,
    }
}

/// An application that says of itself how it is, and how often it was asked.
struct Told {
    server: RecordingUpstream,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Told {
    async fn start() -> Self {
        let told = Self {
            server: RecordingUpstream::start().await,
            status: Arc::new(AtomicU16::new(200)),
            asked: Arc::default(),
        };
        let (status, asked) = (Arc::clone(&told.status), Arc::clone(&told.asked));
        told.server.answers(move |received| {
            let answer = Response::builder();
            let answer = if received.target == "/healthz?full=1" {
                asked.fetch_add(1, Ordering::SeqCst);
                answer.status(status.load(Ordering::SeqCst))
            } else {
                answer
            };
            answer.body(bytes::Bytes::from_static(b"upstream")).unwrap()
        });
        told
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The checks that have been noted.
    async fn checks(&self, world: &World) -> f64 {
        let server = self.address();
        let mut sum = 0.0;
        for outcome in ["passed", "failed"] {
            let series = format!(
                "clerk_gate_upstream_checks_total{{upstream=\"upstream\",server=\"http://{server}\",outcome=\"{outcome}\"}}"
            );
            sum += metric(world, &series).await;
        }
        sum
    }

    /// Waits until so many checks have been noted.
    async fn checked(&self, world: &World, count: f64) {
        let noted = async { while self.checks(world).await < count {} };
        let noted = tokio::time::timeout(Duration::from_mins(1), noted).await;
        assert!(noted.is_ok(), "{} checks", self.checks(world).await);
    }

    /// Lets time go by until the next check, and waits for what it says.
    async fn next_check(&self, world: &World) {
        let before = self.checks(world).await;
        later(INTERVAL).await;
        self.checked(world, before + 1.0).await;
    }
}

async fn world(servers: &[&Told]) -> World {
    let addresses: Vec<_> = servers.iter().map(|told| told.address()).collect();
    world_before(&addresses, |config| {
        config.upstreams[0].group.health = Some(rule());
    })
    .await
}

#[tokio::test]
async fn a_server_that_says_that_it_is_not_well_is_left_out_until_it_is() {
    let (ill, well) = (Told::start().await, Told::start().await);
    let world = world(&[&ill, &well]).await;
    ill.checked(&world, 1.0).await;
    well.checked(&world, 1.0).await;
    ill.says(503);
    for check in 1..=3 {
        assert!(is_open(&world, ill.address()).await, "{check}");
        ill.next_check(&world).await;
    }
    assert!(!is_open(&world, ill.address()).await);
    ill.server.take_received();
    for _ in 0..4 {
        assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    }
    let reached = ill.server.take_received();
    assert!(reached.iter().all(|asked| asked.target != "/public/x"));
    ill.says(204);
    ill.next_check(&world).await;
    assert!(!is_open(&world, ill.address()).await, "once is not enough");
    ill.next_check(&world).await;
    assert!(is_open(&world, ill.address()).await);
}

#[tokio::test]
async fn where_no_server_is_well_nobody_is_asked_and_the_reason_says_so() {
    let (one, other) = (Told::start().await, Told::start().await);
    for servers in [vec![&one], vec![&one, &other]] {
        // The first check decides by itself.
        one.says(500);
        other.says(500);
        one.server.take_received();
        let world = world(&servers).await;
        for told in &servers {
            told.checked(&world, 1.0).await;
        }
        for method in ["GET", "POST"] {
            let call = world.request(method.parse().unwrap(), "/public/x");
            let answer = call.send().await;
            assert_eq!(outcome(&answer), (503, "upstream-unhealthy".to_owned()));
            assert_eq!(answer.header("retry-after"), Some("5"));
        }
        for told in &servers {
            let reached = told.server.take_received();
            assert!(reached.iter().all(|asked| asked.target != "/public/x"));
        }
        // The gate itself is ready all the same.
        let ready = world.window("/readyz").send().await;
        assert_eq!(ready.status, StatusCode::OK);
        one.says(200);
        one.next_check(&world).await;
        one.next_check(&world).await;
        assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_check_is_a_request_of_its_own_that_says_who_asks() {
    let told = Told::start().await;
    let address = told.address();
    let world = world_before(&[address], |config| {
        config.upstreams[0].group.health = Some(HealthCheck {
            host: Some("app.internal".parse().unwrap()),
            ..rule()
        });
    })
    .await;
    told.checked(&world, 1.0).await;
    let asked = told.server.only();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/healthz?full=1")
    );
    assert_eq!(asked.header("host").as_deref(), Some("app.internal"));
    let agent = asked.header("user-agent").unwrap();
    assert!(agent.starts_with("clerk-gate/"), "{agent}");
    let names: Vec<_> = asked.headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn a_server_that_speaks_http_2_is_asked_in_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            let service = hyper::service::service_fn(move |request: http::Request<_>| {
                let _: &hyper::body::Incoming = request.body();
                seen.lock().unwrap().push(request.uri().to_string());
                let answer = Response::builder().status(500);
                let answer = answer.body(http_body_util::Empty::<bytes::Bytes>::new());
                async move { answer }
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(executor)
                    .serve_connection(stream, service),
            );
        }
    });
    let world = world_before(&[address], |config| {
        config.upstreams[0].group.health = Some(rule());
        config.upstreams[0].protocol = clerk_gate::config::Protocol::Http2;
    })
    .await;
    let left_out = async { while is_open(&world, address).await {} };
    tokio::time::timeout(Duration::from_mins(1), left_out)
        .await
        .unwrap();
    assert_eq!(
        *asked.lock().unwrap(),
        [format!("http://{address}/healthz?full=1")]
    );
}

#[tokio::test]
async fn a_server_that_gives_no_answer_or_too_late_is_not_well() {
    let silent = WireUpstream::start().await;
    let absent = {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    };
    let servers = [silent.address, absent.local_addr().unwrap()];
    let world = world_before(&servers, |config| {
        config.upstreams[0].group.health = Some(HealthCheck {
            timeout: Duration::from_millis(100),
            ..rule()
        });
    })
    .await;
    let both =
        async { while is_open(&world, servers[0]).await || is_open(&world, servers[1]).await {} };
    tokio::time::timeout(Duration::from_mins(1), both)
        .await
        .unwrap();
    let answer = world.get("/public/x").send().await;
    assert_eq!(outcome(&answer), (503, "upstream-unhealthy".to_owned()));
}

#[tokio::test]
async fn what_is_known_of_health_outlives_a_configuration_and_checks_end_with_theirs() {
    let told = Told::start().await;
    told.says(500);
    let world = world(&[&told]).await;
    told.checked(&world, 1.0).await;
    world.reloader.change_to(world.config.clone()).unwrap();
    assert!(!is_open(&world, told.address()).await);
    // Where nobody asks any more, nobody is left out for what was said.
    let mut config = world.config.clone();
    config.upstreams[0].group.health = None;
    world.reloader.change_to(config).unwrap();
    assert!(is_open(&world, told.address()).await);
    assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    let asked = told.asked.load(Ordering::SeqCst);
    for _ in 0..5 {
        later(INTERVAL).await;
        assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    }
    assert_eq!(told.asked.load(Ordering::SeqCst), asked);
}
