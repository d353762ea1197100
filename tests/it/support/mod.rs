//! A whole world in one process: a stand-in Clerk, a recording upstream and the real gate, on
//! ports of their own, with a clock that is handed in.

pub mod browser;
pub mod frames;
pub mod http2;
pub mod invariants;
pub mod log;
pub mod pages;
pub mod program;
pub mod protected;
pub mod pure;
pub mod rows;
pub mod site;
pub mod toml;
pub mod upstream;
pub mod waiting;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clerk_gate::clerk::webhooks::WebhookSecrets;
use clerk_gate::clock::{Clock, ManualClock};
use clerk_gate::config::{
    ClerkConfig, ClerkCookies, Config, DoorConfig, HostHeader, Http2Config, IdentityConfig,
    KeySource, Limits, ListenAddress, Listening, LogConfig, LogFormat, LogLevel, Protocol,
    Shutdown, UpstreamConfig,
};
use clerk_gate::core::continuity::{Keepsake, Seal};
use clerk_gate::core::edge::{Edge, PublicAddress, SiteAddress};
use clerk_gate::core::instance::{BackendApi, Instance};
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{HostPattern, PathReading, Policy, Route};
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::gate::live::LiveRules;
use clerk_gate::gate::seals::Seals;
use clerk_gate::server;
use clerk_gate::server::accept::Service;
use clerk_gate::server::reload::Reloader;
use clerk_gate::standin::{StandIn, StandInOptions, TestSession};
use clerk_gate::upstream::Reuse;
use clerk_gate::upstream::group::GroupRules;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use upstream::RecordingUpstream;

pub use pure::{NOW_MS, START_MS, route};

/// The policy of most tests: `/public/**` and `/`, `/admin/**` for admins, the rest signed-in.
pub fn usual_routes() -> Vec<Route> {
    let admin = clerk_gate::core::authorization::Asked {
        role: Some("org:admin".to_owned()),
        ..Default::default()
    };
    vec![
        route("home", &["/", "/public/**"], Requirement::Public),
        route("admin", &["/admin/**"], Requirement::Has(admin)),
    ]
}

pub struct World {
    pub clerk: StandIn,
    pub upstream: RecordingUpstream,
    pub clock: Arc<ManualClock>,
    pub gate: SocketAddr,
    pub admin: SocketAddr,
    pub service: Arc<Service>,
    /// Where gateways ask, if they may.
    pub doors: Option<SocketAddr>,
    /// Where Envoy asks, if it may.
    pub check: Option<SocketAddr>,
    /// Where requests in plain text are sent to TLS, if they are.
    pub redirect: Option<SocketAddr>,
    /// What the gate goes by, and what has it go by something else.
    pub config: Config,
    pub reloader: Arc<Reloader>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

pub struct WorldBuilder {
    routes: Vec<Route>,
    clerk: Box<dyn FnOnce(&mut StandInOptions) + Send>,
    change: Box<dyn FnOnce(&mut Config) + Send>,
    told: bool,
}

impl World {
    /// A world with the usual routes.
    pub async fn start() -> Self {
        Self::with(usual_routes()).start().await
    }

    /// A world with these routes.
    pub fn with(routes: Vec<Route>) -> WorldBuilder {
        WorldBuilder {
            routes,
            clerk: Box::new(|_| {}),
            change: Box::new(|_| {}),
            told: false,
        }
    }

    /// A request to the gate, to be completed.
    pub fn request(&self, method: Method, target: &str) -> Call {
        Call::new(self.gate, method, target)
    }

    pub fn get(&self, target: &str) -> Call {
        self.request(Method::GET, target)
    }

    /// A request at the operator's window.
    pub fn window(&self, target: &str) -> Call {
        Call::new(self.admin, Method::GET, target)
    }

    /// A page load: what a browser sends.
    pub fn visit(&self, target: &str) -> Call {
        self.get(target)
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-mode", "navigate")
            .header("accept", "text/html,application/xhtml+xml")
    }

    /// Asks the gate to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    /// Asks the gate to stop, without waiting.
    pub fn begin_to_stop(&self) {
        self.stop.cancel();
    }
}

impl WorldBuilder {
    /// Puts the gate before this upstream instead of the recording one.
    pub fn before(self, upstream: SocketAddr) -> Self {
        let change = self.change;
        Self {
            change: Box::new(move |config| {
                let url = Origin::parse(&format!("http://{upstream}")).unwrap();
                config.upstreams[0].url = url.into();
                change(config);
            }),
            ..self
        }
    }

    /// Has the stand-in send its events to the gate.
    pub fn told_by_clerk(self) -> Self {
        Self { told: true, ..self }
    }

    /// Lets everybody on this machine ask over gRPC.
    pub fn with_ext_authz(self) -> Self {
        self.configure(|config| config.ext_authz = Some(doors(&["127.0.0.0/8"], None)))
    }

    /// Opens the doors to everybody on this machine.
    pub fn with_doors(self) -> Self {
        self.configure(|config| config.forward_auth = Some(doors(&["127.0.0.0/8"], None)))
    }

    /// Lets Clerk end a handshake with a nonce instead of a token.
    pub fn with_nonces(self) -> Self {
        self.clerk(|options| options.nonce_handshakes = true)
    }

    /// Changes how the stand-in shall be.
    pub fn clerk(self, change: impl FnOnce(&mut StandInOptions) + Send + 'static) -> Self {
        let before = self.clerk;
        Self {
            clerk: Box::new(move |options| {
                before(options);
                change(options);
            }),
            ..self
        }
    }

    /// Makes the gate the proxy of a Frontend API at `/__clerk`; handshakes go that way too.
    pub fn relaying_to(self, frontend_api: SocketAddr) -> Self {
        self.configure(move |config| {
            config.clerk.frontend_api_proxy = Origin::parse(&format!("http://{frontend_api}"));
            config.clerk.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
            "/__clerk".clone_into(&mut config.clerk.instance.frontend_api);
        })
    }

    /// The same, with the world's own stand-in.
    pub fn relaying(self) -> Self {
        self.configure(|config| {
            config.clerk.frontend_api_proxy = Origin::parse(config.clerk.api_url.as_str());
            config.clerk.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
            "/__clerk".clone_into(&mut config.clerk.instance.frontend_api);
        })
    }

    /// Changes the configuration before the gate is built.
    pub fn configure(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let before = self.change;
        self.change = Box::new(move |config| {
            before(config);
            change(config);
        });
        self
    }

    pub async fn start(self) -> World {
        let clock = ManualClock::at(START_MS);
        let told = Arc::clone(&clock);
        let mut options = StandInOptions::new(Arc::new(move || told.now_ms()));
        (self.clerk)(&mut options);
        let clerk = StandIn::start(options).await.unwrap();
        let upstream = RecordingUpstream::start().await;
        let mut config = config(&clerk, upstream.address, self.routes);
        (self.change)(&mut config);
        if self.told {
            let secret = clerk.webhook_secret();
            config.webhooks = Some(WebhookSecrets::parse([secret]).unwrap());
        }
        let bound = server::build(&config, clock.clone()).await.unwrap();
        let (gate, admin) = (bound.address().unwrap(), bound.admin_address().unwrap());
        let (service, reloader) = (bound.service(), bound.reloader());
        let (doors, check) = (bound.doors_address(), bound.check_address());
        let redirect = bound.redirect_address();
        if self.told {
            let page = format!("http://{gate}/_gate/webhooks/clerk");
            clerk.send_events_to(&page).unwrap();
        }
        let stop = CancellationToken::new();
        let token = stop.clone();
        let running = tokio::spawn(async move { bound.run(token).await.unwrap() });
        World {
            clerk,
            upstream,
            clock,
            gate,
            admin,
            service,
            doors,
            check,
            redirect,
            config,
            reloader,
            stop,
            running,
        }
    }
}

/// The configuration of a gate between a stand-in and an upstream.
pub fn config(clerk: &StandIn, upstream: SocketAddr, routes: Vec<Route>) -> Config {
    let clerk = clerk_config(clerk);
    Config {
        clerk: clerk.clone(),
        ..config_of(clerk.instance, upstream, routes)
    }
}

/// The configuration of the instance that a stand-in is.
pub fn clerk_config(clerk: &StandIn) -> ClerkConfig {
    let key = PublishableKey::parse(clerk.publishable_key()).unwrap();
    let mut instance = Instance::of(key, BackendApi::Available);
    instance.frontend_api = clerk.url();
    instance.sign_in_url = Some(clerk.sign_in_url());
    ClerkConfig {
        secret_key: Some(clerk.secret_key().into()),
        api_url: clerk.url().parse().unwrap(),
        ..clerk_config_of(instance)
    }
}

/// Doors for these networks, and for who shows the secret.
pub fn doors(peers: &[&str], secret: Option<&str>) -> DoorConfig {
    DoorConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: peers
            .iter()
            .map(|net| {
                net.parse()
                    .or_else(|_| format!("{net}/32").parse())
                    .unwrap()
            })
            .collect(),
        secret: secret.map(Into::into),
    }
}

/// Puts another site behind the gate, on these hosts.
pub fn add_site(config: &mut Config, hosts: &[&str], public: PublicAddress, clerk: ClerkConfig) {
    let pattern = |host: &&str| match host.strip_prefix("*.") {
        Some(domain) => HostPattern::Below(domain.to_owned()),
        None => HostPattern::Exact((*host).to_owned()),
    };
    config.edge.sites.push(SiteAddress {
        hosts: hosts.iter().map(pattern).collect(),
        public,
    });
    config.sites.push(clerk);
}

/// The configuration of an instance that has no secret key.
pub fn clerk_config_of(instance: Instance) -> ClerkConfig {
    ClerkConfig {
        keys: KeySource::FrontendApi {
            url: instance.frontend_api.clone(),
        },
        instance,
        jwks_max_stale: Duration::from_hours(24),
        frontend_api_proxy: None,
        secret_key: None,
        machine_secret_key: None,
        machine_token_cache: Duration::from_secs(30),
        api_budget: 100_000,
        seal_keys: vec![SEAL_KEY.into()],
        api_url: "https://api.clerk.com".parse().unwrap(),
        live: LiveRules::default(),
    }
}

/// The configuration of a gate that works for `instance`, which is nowhere.
pub fn config_of(instance: Instance, upstream: SocketAddr, routes: Vec<Route>) -> Config {
    let any: ListenAddress = "127.0.0.1:0".parse().unwrap();
    Config {
        listen: Listening {
            addresses: vec![any.clone()],
            unix_mode: 0o660,
            proxy_peers: Vec::new(),
            hand_over: None,
        },
        redirect_listen: Vec::new(),
        admin_listen: Some(any),
        decisions: 1000,
        forward_auth: None,
        ext_authz: None,
        clerk: clerk_config_of(instance),
        sites: Vec::new(),
        edge: Edge {
            public: PublicAddress::Loopback,
            trusted_proxies: Vec::new(),
            hosts: Vec::new(),
            sites: Vec::new(),
        },
        debug_headers: false,
        policy: Policy::compile(routes, PathReading::Leniently).unwrap(),
        shadow: None,
        upstreams: vec![UpstreamConfig {
            name: "upstream".to_owned(),
            further: Vec::new(),
            group: GroupRules::default(),
            url: Origin::parse(&format!("http://{upstream}")).unwrap().into(),
            protocol: Protocol::Http1,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            reuse: Reuse::Safe,
            host: HostHeader::Preserve,
            early_hints: false,
            ca_file: None,
            server_name: None,
            client_certificate: None,
            assertion_audience: None,
        }],
        identity: IdentityConfig {
            headers: Vec::new(),
            clerk_cookies: ClerkCookies::Strip,
        },
        assertion: None,
        limits: Limits {
            head_bytes: 64 * 1024,
            head_count: 200,
            head_timeout: Duration::from_secs(10),
            body_bytes: None,
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            connections: 1000,
        },
        http2: Http2Config::default(),
        tls: None,
        pages_prefix: "/_gate/".to_owned(),
        webhooks: None,
        store: None,
        traces: None,
        log: LogConfig {
            format: LogFormat::Json,
            level: LogLevel::Info,
        },
        shutdown: Shutdown {
            announce: Duration::ZERO,
            drain: Duration::from_secs(5),
        },
        watch: false,
    }
}

/// The cookies of a browser that holds this session.
pub fn cookies(session: &TestSession) -> String {
    format!(
        "__session={}; __client_uat={}; __clerk_db_jwt={}",
        session.token, session.client_uat, session.dev_browser
    )
}

/// The same cookies, and the one that Clerk refreshes this session by.
pub fn refreshable(world: &World, session: &TestSession) -> String {
    format!(
        "{}; __refresh_{}={}",
        cookies(session),
        world.clerk.cookie_suffix(),
        session.refresh_token.as_deref().unwrap()
    )
}

/// The key of the gate's own cookies in most worlds: 32 bytes.
const SEAL_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// The same cookies, and the seal that the browser of this session would have.
pub fn sealed(world: &World, session: &TestSession) -> String {
    let origin = format!("http://localhost:{}", world.gate.port());
    let key = world.clerk.publishable_key();
    let seal = seal(key, &origin, session, world.clock.now_ms());
    format!("{}; {seal}", cookies(session))
}

/// The seal of a session at this origin, of the instance of this key.
pub fn seal(key: &str, origin: &str, session: &TestSession, now_ms: u64) -> String {
    let key = PublishableKey::parse(key).unwrap();
    let instance = Instance::of(key, BackendApi::Available);
    let seal = Keepsake::Seal(Seal {
        session: session.session_id.clone(),
        user: session.user_id.clone(),
        first_ms: now_ms,
        sealed_ms: now_ms,
    });
    let seals = Seals::new(&[SEAL_KEY.into()]).unwrap();
    let origin = Origin::parse(origin).unwrap();
    let line = seals.cookie(&instance, &origin, &seal, now_ms).unwrap();
    line.split(';').next().unwrap().to_owned()
}

/// One request to the gate.
pub struct Call {
    gate: SocketAddr,
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Call {
    pub fn new(gate: SocketAddr, method: Method, target: &str) -> Self {
        Self {
            gate,
            method,
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cookie(self, cookies: &str) -> Self {
        self.header("cookie", cookies)
    }

    pub fn bearer(self, token: &str) -> Self {
        let value = format!("Bearer {token}");
        self.header("authorization", &value)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn bytes(self) -> Vec<u8> {
        use std::fmt::Write as _;
        let named = |wanted: &str| {
            self.headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !named("host") {
            write!(head, "host: localhost:{}\r\n", self.gate.port()).unwrap();
        }
        if !self.body.is_empty() && !named("content-length") && !named("transfer-encoding") {
            write!(head, "content-length: {}\r\n", self.body.len()).unwrap();
        }
        if !named("connection") {
            head.push_str("connection: close\r\n");
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends the request as it is written, over a connection of its own.
    pub async fn send(self) -> Answer {
        let gate = self.gate;
        raw(gate, &self.bytes()).await
    }

    /// The same, to a gate that may not listen any more.
    pub async fn try_send(self) -> Option<Answer> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.gate).await.ok()?;
        stream.write_all(&self.bytes()).await.ok()?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.ok()?;
        Some(parse(&received)?.0)
    }
}

/// Sends bytes over a connection of their own and reads the answer until the gate closes it.
pub async fn raw(gate: SocketAddr, bytes: &[u8]) -> Answer {
    let mut answers = exchange(gate, bytes).await;
    assert!(!answers.is_empty(), "the gate answers");
    answers.remove(0)
}

/// Sends bytes and reads every answer until the gate closes the connection or pauses.
pub async fn exchange(gate: SocketAddr, bytes: &[u8]) -> Vec<Answer> {
    let mut stream = tokio::net::TcpStream::connect(gate).await.unwrap();
    // The gate may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let mut chunk = vec![0_u8; 16 * 1024];
    loop {
        match tokio::time::timeout(Duration::from_millis(1500), stream.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => break,
            Ok(Ok(count)) => received.extend_from_slice(&chunk[..count]),
        }
    }
    let mut rest = received.as_slice();
    let mut answers = Vec::new();
    while let Some((answer, after)) = parse(rest) {
        answers.push(answer);
        rest = after;
    }
    answers
}

/// Sends one request and reads its answer, over a connection of its own that neither side closes.
pub async fn ask(gate: SocketAddr, request: &[u8]) -> Answer {
    let answer = async {
        let mut stream = tokio::net::TcpStream::connect(gate).await.unwrap();
        stream.write_all(request).await.unwrap();
        read_answer(&mut stream, request.starts_with(b"HEAD "), &mut Vec::new()).await
    };
    tokio::time::timeout(Duration::from_secs(10), answer)
        .await
        .expect("the gate answers in time")
}

/// Reads one whole answer; what comes behind it stays in `received`.
pub async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    head_only: bool,
    received: &mut Vec<u8>,
) -> Answer {
    let mut chunk = vec![0_u8; 16 * 1024];
    loop {
        let count = stream.read(&mut chunk).await.unwrap();
        received.extend_from_slice(&chunk[..count]);
        if count == 0 || is_whole(received, head_only) {
            let (answer, rest) = parse(received)
                .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(received)));
            *received = rest.to_vec();
            return answer;
        }
    }
}

fn is_whole(bytes: &[u8], head_only: bool) -> bool {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = &bytes[end + 4..];
    if head.starts_with("http/1.1 100") {
        return is_whole(body, head_only);
    }
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"))
        .map(|length| length.trim().parse::<usize>().unwrap());
    let bodyless = head_only
        || ["304", "204", "101"]
            .iter()
            .any(|code| head[9..].starts_with(code));
    match length {
        _ if bodyless => true,
        Some(length) => body.len() >= length,
        None => head.contains("chunked") && body.ends_with(b"0\r\n\r\n"),
    }
}

/// Takes one answer off the front of `bytes`.
fn parse(bytes: &[u8]) -> Option<(Answer, &[u8])> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(
            http::HeaderName::try_from(name).unwrap(),
            value.trim().parse().unwrap(),
        );
    }
    let after = &bytes[end + 4..];
    if status == 100 {
        return parse(after);
    }
    let chunked = headers
        .get("transfer-encoding")
        .is_some_and(|te| te == "chunked");
    let (body, rest) = if chunked {
        unchunk(after)
    } else {
        let length = headers
            .get("content-length")
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .unwrap_or(after.len())
            .min(after.len());
        (after[..length].to_vec(), &after[length..])
    };
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    Some((answer, rest))
}

fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap().trim(), 16)
            .unwrap_or(0);
        let start = end + 2;
        if size == 0 || bytes.len() < start + size + 2 {
            return (body, bytes.get(start + 2..).unwrap_or_default());
        }
        body.extend_from_slice(&bytes[start..start + size]);
        bytes = &bytes[start + size + 2..];
    }
    (body, &[])
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers
            .get_all(name)
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect()
    }

    /// The `code` of a JSON refusal.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}
