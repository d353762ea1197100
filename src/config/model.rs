//! The checked configuration: what `load` hands out. Nothing here can be wrong any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::ServerName;
use secrecy::SecretString;
use url::Url;

use super::listen::ListenAddress;
use crate::clerk::webhooks::WebhookSecrets;
use crate::core::edge::Edge;
use crate::core::identity_headers::MappedHeader;
use crate::core::instance::Instance;
use crate::core::key::InstanceKind;
use crate::core::origin::{Host, Origin};
use crate::core::policy::Policy;
use crate::gate::live::LiveRules;
use crate::store::redis::{Addresses, OnError};
use crate::telemetry::traces::{Destination, Share};
use crate::tls::server::Terms;
use crate::upstream::address::ServerAddress;
use crate::upstream::group::GroupRules;
use crate::upstream::signer::Signer;
use crate::upstream::{Protocol, Reuse};

/// Everything the gate is told. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests are accepted.
    pub listen: Listening,
    /// Where requests in plain text are sent to the public address; often nowhere.
    pub redirect_listen: Vec<ListenAddress>,
    /// Where the operator's window is; `None` if it is off.
    pub admin_listen: Option<ListenAddress>,
    /// How many of the last decisions it shows.
    pub decisions: usize,
    /// Where gateways ask for verdicts; `None` if they cannot.
    pub forward_auth: Option<DoorConfig>,
    /// Where Envoy asks for them over gRPC; `None` if it cannot.
    pub ext_authz: Option<DoorConfig>,
    /// `[clerk]`: the instance of the first site.
    pub clerk: ClerkConfig,
    /// The same of each further site, in the order of their addresses in `edge`.
    pub sites: Vec<ClerkConfig>,
    /// Where the gate stands.
    pub edge: Edge,
    /// Whether the SDK's `x-clerk-auth-*` headers stand on every answer.
    pub debug_headers: bool,
    /// The routes.
    pub policy: Policy,
    /// A second policy, which is judged beside it and never enforced.
    pub shadow: Option<Box<ShadowConfig>>,
    /// Upstreams; the first is `[upstream]`, the next are `[upstreams]`, and routes name the others by
    /// their address.
    pub upstreams: Vec<UpstreamConfig>,
    /// Who may speak HTTP/2.
    pub http2: Http2Config,
    /// How TLS is spoken; `None` if it is not.
    pub tls: Option<Terms>,
    /// What the upstream learns of a person.
    pub identity: IdentityConfig,
    /// What it is told under a signature; `None` if nothing is.
    pub assertion: Option<AssertionConfig>,
    /// What a stranger may cost us.
    pub limits: Limits,
    /// The path below which the gate's own pages are, with a slash at both ends.
    pub pages_prefix: String,
    /// What Clerk's events are signed with; `None` if none are taken.
    pub webhooks: Option<WebhookSecrets>,
    /// Where counts are kept, if that is not the gate's own memory.
    pub store: Option<RedisConfig>,
    /// What is written down of requests for others to look at; `None` if nothing is.
    pub traces: Option<Box<TracesConfig>>,
    /// How we log.
    pub log: LogConfig,
    /// How it stops.
    pub shutdown: Shutdown,
    /// Whether it is read again when its files have changed.
    pub watch: bool,
}

/// How the gate stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long it says that it is not ready before it accepts no more connections.
    pub announce: Duration,
    /// How long open requests may take after that.
    pub drain: Duration,
}

/// Where requests are accepted, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where; never empty.
    pub addresses: Vec<ListenAddress>,
    /// The mode of sockets in the file system.
    pub unix_mode: u32,
    /// Peers that say, with the PROXY protocol, whose a connection is.
    pub proxy_peers: Vec<IpNet>,
    /// Where the next process asks for the sockets; `None` if it cannot have them.
    pub hand_over: Option<PathBuf>,
}

/// A shadow policy.
#[derive(Clone, Debug)]
pub struct ShadowConfig {
    /// The file that it is in.
    pub name: String,
    /// Its routes.
    pub policy: Policy,
}

/// Who may ask for verdicts, and where. All that is set has to hold.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Where they are given.
    pub listen: ListenAddress,
    /// Whence it may be asked; empty where the secret alone counts.
    pub peers: Vec<IpNet>,
    /// What has to be shown.
    pub secret: Option<SecretString>,
}

/// A Clerk instance, and how it is reached.
#[derive(Clone, Debug)]
pub struct ClerkConfig {
    /// The Clerk instance.
    pub instance: Instance,
    /// Where the keys that verify tokens come from.
    pub keys: KeySource,
    /// How long keys are served while Clerk cannot be reached.
    pub jwks_max_stale: Duration,
    /// Where the Frontend API is, if the gate is its proxy; the path is the instance's.
    pub frontend_api_proxy: Option<Origin>,
    /// The secret key, for what calls the Backend API.
    pub secret_key: Option<SecretString>,
    /// The secret key of a machine, for tokens that are meant for it.
    pub machine_secret_key: Option<SecretString>,
    /// How long Clerk's word on a machine token is taken.
    pub machine_token_cache: Duration,
    /// How many calls to the Backend API there may be in ten seconds.
    pub api_budget: u32,
    /// The keys of the gate's own cookies, base64 of 32 bytes each, the one that seals first. Where
    /// there is none, the gate makes one for as long as it runs.
    pub seal_keys: Vec<SecretString>,
    /// The Backend API, without a trailing slash in its path.
    pub api_url: Url,
    /// How long live connections may last.
    pub live: LiveRules,
}

impl ClerkConfig {
    /// Half of what Clerk takes of an instance in ten seconds (protocol reference, section 9.1).
    pub fn usual_budget(kind: InstanceKind) -> u32 {
        match kind {
            InstanceKind::Production => 500,
            InstanceKind::Development => 50,
        }
    }
}

/// Where the keys that verify tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `jwt-key`: no network.
    Pem(String),
    /// The Backend API, with the secret key.
    BackendApi,
    /// The Frontend API's public key set.
    FrontendApi {
        /// The address of the Frontend API itself, never of a proxy, without a trailing slash.
        url: String,
    },
}

/// Where requests are forwarded to: a server, or several that are as good as each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The name in logs and metrics.
    pub name: String,
    /// Where its server is, the first one of several.
    pub url: ServerAddress,
    /// The same of further ones.
    pub further: Vec<ServerAddress>,
    /// How the servers share its requests.
    pub group: GroupRules,
    /// What it is spoken to in.
    pub protocol: Protocol,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take.
    pub response_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whom a connection may serve that has served somebody.
    pub reuse: Reuse,
    /// Which `Host` it sees.
    pub host: HostHeader,
    /// Whether its early hints go to clients of HTTP/1.1.
    pub early_hints: bool,
    /// Certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that its certificate has to have; `None` for the one in `url`.
    pub server_name: Option<ServerName<'static>>,
    /// Who the gate is to it; `None` if it is not told.
    pub client_certificate: Option<ClientCertificate>,
    /// Whom signed assertions are for; `None` for its `url`.
    pub assertion_audience: Option<String>,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those that lead from it to an authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl UpstreamConfig {
    /// The files that are read whenever the configuration is.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.client_certificate.as_ref();
        let own = own.map(|own| [&own.cert_file, &own.key_file]);
        self.ca_file.iter().chain(own.into_iter().flatten())
    }

    /// Where its servers are; never none.
    pub fn servers(&self) -> impl Iterator<Item = &ServerAddress> {
        std::iter::once(&self.url).chain(&self.further)
    }
}

/// What upstreams are told under a signature.
#[derive(Clone, Debug)]
pub struct AssertionConfig {
    /// The keys, the first of which signs.
    pub signer: Arc<Signer>,
    /// `iss`; `None` for the public address of the site.
    pub issuer: Option<String>,
    /// How long an assertion holds.
    pub lifetime: Duration,
}

/// Which `Host` an upstream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The one of the request.
    Preserve,
    /// Its own.
    Upstream,
    /// This one.
    Named(Host),
}

/// What a stranger may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of a request's head.
    pub head_bytes: u64,
    /// The number of header lines.
    pub head_count: usize,
    /// How long a head may take to arrive; an idle connection is closed after as long.
    pub head_timeout: Duration,
    /// The size of a body; `None` for no limit.
    pub body_bytes: Option<u64>,
    /// How long the next piece of a body may take.
    pub body_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// Connections open at once.
    pub connections: usize,
}

/// Who may speak HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Config {
    /// Whether it is offered over TLS.
    pub enabled: bool,
    /// Whether it is taken without TLS from whoever knows that it is.
    pub cleartext: bool,
    /// Requests at once on one connection.
    pub max_streams: u32,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            enabled: true,
            cleartext: false,
            max_streams: 128,
        }
    }
}

/// What the upstream learns of a person, besides the headers that are always set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Header names, in lower case, and the names that lead to the claim, outermost first.
    pub headers: Vec<MappedHeader>,
    /// What becomes of Clerk's cookies.
    pub clerk_cookies: ClerkCookies,
}

/// What becomes of Clerk's cookies on the way to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClerkCookies {
    /// They are removed.
    Strip,
    /// They are passed on.
    Keep,
}

/// A Redis or Valkey.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where it is.
    pub addresses: Addresses,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// What happens while it does not.
    pub on_error: OnError,
}

/// Traces.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// Where they go.
    pub destination: Destination,
    /// The share of requests that are written down.
    pub share: Share,
}

/// How we log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// For machines or for people.
    pub format: LogFormat,
    /// The least important line that is written.
    pub level: LogLevel,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text.
    Human,
}

/// The importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

impl LogLevel {
    /// The name as it is written in TOML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
