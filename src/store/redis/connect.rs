//! Where the servers are, and how to get a connection: to one of them, to the one that Sentinels name,
//! or to all of a Cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

/// How often a Cluster's answer that something is elsewhere is followed.
const CLUSTER_RETRIES: u32 = 3;

/// The servers that gates share something by.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where they are.
    pub servers: Servers,
    /// The certificates, in PEM, that theirs is checked with; `None` for those that the system trusts.
    pub roots: Option<Arc<[u8]>>,
}

/// Where servers are. Addresses may have a name and a password in them.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One server.
    One(SecretString),
    /// The one that Sentinels name.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<SecretString>,
        /// The name that they know it by, or an address with that name as its host.
        master: SecretString,
    },
    /// All of a Cluster, which some of them are enough to find.
    Cluster(Vec<SecretString>),
}

/// Makes connections.
pub(super) enum Client {
    One(Box<redis::Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// A connection, for any number of askers at the same time.
#[derive(Clone)]
pub(in crate::store) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl From<SecretString> for Servers {
    fn from(url: SecretString) -> Self {
        Self::One(url)
    }
}

impl Addresses {
    /// The server at this address, with the certificates that the system trusts.
    pub fn one(url: &str) -> Self {
        Self {
            servers: Servers::One(url.into()),
            roots: None,
        }
    }
}

/// Whether this is the address of a server.
pub(crate) fn is_address(url: &str) -> bool {
    url.into_connection_info().is_ok()
}

/// Whether connections to this address are encrypted.
pub(crate) fn is_tls(url: &str) -> bool {
    let info = url.into_connection_info();
    info.is_ok_and(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. }))
}

impl Client {
    /// Connects to nothing yet. The error says nothing of what is in an address.
    pub(super) fn of(addresses: &Addresses) -> Result<Self, String> {
        let roots = addresses.roots.as_ref().map(|pem| TlsCertificates {
            client_tls: None,
            root_cert: Some(pem.to_vec()),
        });
        let made = match &addresses.servers {
            Servers::One(url) => one(url.expose_secret(), roots),
            Servers::Sentinel { sentinels, master } => {
                by_sentinels(sentinels, master.expose_secret(), roots)
            }
            Servers::Cluster(nodes) => cluster(nodes, roots),
        };
        made.map_err(|error| format!("{:?}", error.kind()))
    }

    /// A connection on which an answer may take this long.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        Ok(match self {
            Self::One(client) => {
                let connecting = client.get_multiplexed_async_connection_with_config(&config);
                Connection::Server(connecting.await?)
            }
            Self::Sentinel(client) => {
                let mut client = client.lock().await;
                let server = client.async_get_client().await?;
                drop(client);
                let connecting = server.get_multiplexed_async_connection_with_config(&config);
                Connection::Server(connecting.await?)
            }
            Self::Cluster(client) => {
                let config = ClusterConfig::new()
                    .set_connection_timeout(patience)
                    .set_response_timeout(patience);
                let connecting = client.get_async_connection_with_config(config);
                Connection::Cluster(connecting.await?)
            }
        })
    }
}

fn one(url: &str, roots: Option<TlsCertificates>) -> RedisResult<Client> {
    let client = match roots {
        Some(roots) => redis::Client::build_with_tls(url, roots)?,
        None => redis::Client::open(url)?,
    };
    Ok(Client::One(Box::new(client)))
}

fn by_sentinels(
    sentinels: &[SecretString],
    master: &str,
    roots: Option<TlsCertificates>,
) -> RedisResult<Client> {
    let infos = sentinels
        .iter()
        .map(|url| url.expose_secret().into_connection_info());
    let infos: Vec<ConnectionInfo> = infos.collect::<RedisResult<_>>()?;
    let server = master_address(master)?;
    let addresses = infos.iter().map(|info| info.addr().clone());
    let kind = SentinelServerType::Master;
    let mut builder = SentinelClientBuilder::new(addresses, host(&server), kind)?;
    // The Sentinels of one master have one login.
    if let Some(first) = infos.first() {
        if let Some(name) = first.redis_settings().username() {
            builder = builder.set_client_to_sentinel_username(name);
        }
        if let Some(password) = first.redis_settings().password() {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let (ConnectionAddr::TcpTls { .. }, Some(roots)) = (first.addr(), &roots) {
            builder = builder.set_client_to_sentinel_certificates(roots.clone());
        }
    }
    let settings = server.redis_settings();
    builder = builder.set_client_to_redis_db(settings.db());
    if let Some(name) = settings.username() {
        builder = builder.set_client_to_redis_username(name);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let ConnectionAddr::TcpTls { .. } = server.addr() {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        if let Some(roots) = roots {
            builder = builder.set_client_to_redis_certificates(roots);
        }
    }
    Ok(Client::Sentinel(Box::new(Mutex::new(builder.build()?))))
}

fn cluster(nodes: &[SecretString], roots: Option<TlsCertificates>) -> RedisResult<Client> {
    let nodes = nodes.iter().map(SecretString::expose_secret);
    // A charge must not be tried for longer than it may take.
    let mut builder = ClusterClient::builder(nodes).retries(CLUSTER_RETRIES);
    if let Some(roots) = roots {
        builder = builder.certs(roots);
    }
    Ok(Client::Cluster(Box::new(builder.build()?)))
}

/// What `master` says of the server: all but where it is.
fn master_address(master: &str) -> RedisResult<ConnectionInfo> {
    if master.contains("://") {
        master.into_connection_info()
    } else {
        let nowhere = ConnectionAddr::Tcp(master.to_owned(), 0);
        nowhere.into_connection_info()
    }
}

/// The host of an address: of a master's, its name.
fn host(info: &ConnectionInfo) -> &str {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
