//! The proxies that are measured: started on processor 0, and looked at through `/proc`.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::gateways;
use super::tokens::{PUBLISHABLE_KEY, Signer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    PassThrough,
    PassThroughWithCheck,
    Gate,
    GateWithLog,
    /// Keeps its last decisions.
    GateWithDecisions,
    /// Writes traces down of one request in a hundred.
    GateWithTraces,
    /// Gives a connection of the application to whoever comes next.
    GateReusing,
    Haproxy,
    HaproxyJwt,
    Nginx,
    /// nginx that asks the gate by `auth_request`.
    NginxAsking,
    /// Envoy that asks the gate by `ext_authz` over gRPC.
    EnvoyAsking,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::PassThrough,
        Self::PassThroughWithCheck,
        Self::Gate,
        Self::GateWithLog,
        Self::GateWithDecisions,
        Self::GateWithTraces,
        Self::GateReusing,
        Self::Haproxy,
        Self::HaproxyJwt,
        Self::Nginx,
        Self::NginxAsking,
        Self::EnvoyAsking,
    ];

    /// Whether its memory and its start are measured too.
    pub fn has_memory_row(self) -> bool {
        matches!(self, Self::PassThrough | Self::Gate | Self::Nginx)
    }
}

/// What proxies are started with.
pub struct Stage<'a> {
    /// Where the upstream is.
    pub upstream: SocketAddr,
    /// Whose tokens they check.
    pub signer: &'a Signer,
    /// The program that is the gate.
    pub gate: &'a Path,
}

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub started_in: Duration,
    /// The one that listens first.
    children: Vec<Child>,
}

impl Proxy {
    pub async fn start(kind: Kind, stage: &Stage<'_>) -> Result<Self, String> {
        let &Stage {
            upstream,
            signer,
            gate: program,
        } = stage;
        let address = free_address();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{kind:?}"));
        fs::create_dir_all(&folder).unwrap();
        let mut command = match kind {
            Kind::PassThrough | Kind::PassThroughWithCheck => {
                let mut command = on_processor_0(&std::env::current_exe().unwrap());
                command.args([
                    "--pass-through",
                    &address.to_string(),
                    &upstream.to_string(),
                ]);
                if kind == Kind::PassThroughWithCheck {
                    command.arg(write(folder.join("key.pem"), &signer.pem()));
                }
                command
            }
            Kind::Gate
            | Kind::GateWithLog
            | Kind::GateWithDecisions
            | Kind::GateWithTraces
            | Kind::GateReusing => {
                let file = gate(&folder, address, upstream, kind, signer);
                let mut command = on_processor_0(program);
                command.args(["run", "-c"]).arg(file);
                command.stderr(fs::File::create(folder.join("log")).unwrap());
                command
            }
            Kind::Haproxy | Kind::HaproxyJwt => {
                let file = haproxy(&folder, address, upstream, kind, signer);
                let mut command = on_processor_0(Path::new("haproxy"));
                command.args(["-q", "-db", "-f"]).arg(file);
                command
            }
            Kind::NginxAsking | Kind::EnvoyAsking => {
                let children = gateways::start(kind, stage, &folder, address).await?;
                return Self::once_it_listens(address, children).await;
            }
            Kind::Nginx => {
                let file = nginx(&folder, address, upstream);
                let mut command = on_processor_0(Path::new("nginx"));
                command.arg("-p").arg(&folder).arg("-c").arg(file);
                command.stderr(Stdio::null());
                command
            }
        };
        let child = command.spawn().map_err(|error| error.to_string())?;
        Self::once_it_listens(address, vec![child]).await
    }

    async fn once_it_listens(address: SocketAddr, children: Vec<Child>) -> Result<Self, String> {
        let began = Instant::now();
        let mut proxy = Self {
            address,
            started_in: Duration::ZERO,
            children,
        };
        while std::net::TcpStream::connect(address).is_err() {
            for child in &mut proxy.children {
                if let Some(status) = child.try_wait().unwrap() {
                    return Err(format!("it ended with {status}"));
                }
            }
            if began.elapsed() > Duration::from_secs(10) {
                return Err("it does not listen".to_owned());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        super::load::hold(address, 1).await;
        proxy.started_in = began.elapsed();
        Ok(proxy)
    }

    /// The processor time that the process and its children have used so far.
    pub fn processor_time(&self) -> Duration {
        self.processes()
            .flat_map(|process| {
                let tasks = fs::read_dir(format!("/proc/{process}/task"));
                tasks
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|task| task.path())
            })
            .filter_map(|task| {
                let text = fs::read_to_string(task.join("schedstat")).ok()?;
                text.split(' ')
                    .next()?
                    .parse()
                    .ok()
                    .map(Duration::from_nanos)
            })
            .sum()
    }

    fn processes(&self) -> impl Iterator<Item = u32> {
        self.children.iter().flat_map(|child| processes(child.id()))
    }

    /// The memory that is resident, in bytes.
    pub fn resident(&self) -> u64 {
        self.processes()
            .filter_map(|process| {
                let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
                let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .sum::<u64>()
            * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx ends its workers when it is asked to, not when it is killed.
        for child in &mut self.children {
            let id = child.id().to_string();
            let _ = Command::new("kill").arg(id).status();
            let _ = child.wait();
        }
    }
}

/// A program that is kept on processor 0.
pub fn on_processor_0(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).stdin(Stdio::null());
    command
}

/// A process and those it has started.
fn processes(parent: u32) -> Vec<u32> {
    let mut all = vec![parent];
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
        all.extend(processes(child));
    }
    all
}

/// Keeps load and upstream away from the processor of the proxies.
pub fn stay_off_processor_0() {
    let processors = std::thread::available_parallelism().unwrap().get();
    assert!(processors > 1, "this needs two processors");
    let list = format!("1-{}", processors - 1);
    let id = std::process::id().to_string();
    let done = Command::new("taskset")
        .args(["-cp", &list, &id])
        .stdout(Stdio::null())
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "`taskset` is needed"
    );
}

pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub fn write(path: PathBuf, text: &str) -> PathBuf {
    fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    path
}

pub fn gate(
    folder: &Path,
    listen: SocketAddr,
    upstream: SocketAddr,
    kind: Kind,
    signer: &Signer,
) -> PathBuf {
    let pem = write(folder.join("key.pem"), &signer.pem());
    let level = if kind == Kind::GateWithLog {
        "info"
    } else {
        "error"
    };
    // Decisions are kept where somebody can look at them.
    let window = if kind == Kind::GateWithDecisions {
        free_address().to_string()
    } else {
        "off".to_owned()
    };
    let reuse = if kind == Kind::GateReusing {
        "always"
    } else {
        "safe"
    };
    let mut text = format!(
        "listen = \"{listen}\"\npublic-url = \"http://localhost\"\n[clerk]\npublishable-key = \"{PUBLISHABLE_KEY}\"\njwt-key-file = \"{}\"\n[upstream]\nurl = \"http://{upstream}\"\nreuse = \"{reuse}\"\n[admin]\nlisten = \"{window}\"\n[log]\nlevel = \"{level}\"\n",
        pem.display()
    );
    text.push_str("[[route]]\nname = \"public\"\npath = \"/public/**\"\nrequire = \"public\"\n");
    text.push_str("[[route]]\nname = \"admin\"\npath = \"/admin/**\"\nrequire = \"org:admin\"\n");
    if kind == Kind::GateWithTraces {
        // Nobody takes them: what is measured is the gate.
        text.push_str("[traces]\nendpoint = \"http://127.0.0.1:9/v1/traces\"\nsample = 0.01\n");
    }
    write(folder.join("gate.toml"), &text)
}

fn haproxy(
    folder: &Path,
    listen: SocketAddr,
    upstream: SocketAddr,
    kind: Kind,
    signer: &Signer,
) -> PathBuf {
    let pem = write(folder.join("key.pem"), &signer.pem());
    let check = if kind == Kind::HaproxyJwt {
        format!(
            "  http-request set-var(txn.token) req.cook(__session)\n  http-request deny unless {{ var(txn.token),jwt_verify(\"RS256\",\"{}\") -m int 1 }}\n",
            pem.display()
        )
    } else {
        String::new()
    };
    let text = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n  http-reuse always\nfrontend f\n  bind {listen}\n  acl probe path_beg /public\n{check}  default_backend b\nbackend b\n  server s {upstream}\n"
    );
    let text = text.replace("deny unless {", "deny unless probe || {");
    write(folder.join("haproxy.cfg"), &text)
}

fn nginx(folder: &Path, listen: SocketAddr, upstream: SocketAddr) -> PathBuf {
    let text = format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr crit;\nevents {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  keepalive_requests 10000000;\n  client_max_body_size 2m;\n  upstream u {{ server {upstream}; keepalive 64; keepalive_requests 10000000; }}\n  server {{\n    listen {listen};\n    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }}\n  }}\n}}\n"
    );
    write(folder.join("nginx.conf"), &text)
}
