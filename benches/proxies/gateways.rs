//! Gateways that ask the gate, with the configuration that `clerk-gate recipe` prints.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::proxies::{Kind, Stage, free_address, gate, on_processor_0, write};

/// Starts the gate with its doors open, and the gateway in front of it. Both are measured.
pub async fn start(
    kind: Kind,
    stage: &Stage<'_>,
    folder: &Path,
    listen: SocketAddr,
) -> Result<Vec<Child>, String> {
    let [own, door] = [free_address(), free_address()];
    let section = match kind {
        Kind::EnvoyAsking => "ext-authz",
        _ => "forward-auth",
    };
    let file = gate(folder, own, stage.upstream, kind, stage.signer);
    let text = std::fs::read_to_string(&file).unwrap();
    let doors = format!("[{section}]\nlisten = \"{door}\"\npeers = [\"127.0.0.1\"]\n");
    write(file.clone(), &(text + &doors));
    let recipe = Command::new(stage.gate)
        .args([
            "recipe",
            recipe(kind),
            "--gateway",
            &listen.to_string(),
            "-c",
        ])
        .arg(&file)
        .output()
        .map_err(|error| error.to_string())?;
    if !recipe.status.success() {
        return Err(String::from_utf8_lossy(&recipe.stderr).into_owned());
    }
    let recipe = String::from_utf8(recipe.stdout).unwrap();
    let mut decides = on_processor_0(stage.gate);
    decides.args(["run", "-c"]).arg(&file);
    decides.stderr(std::fs::File::create(folder.join("log")).unwrap());
    let decides = decides.spawn().map_err(|error| error.to_string())?;
    let began = Instant::now();
    while std::net::TcpStream::connect(door).is_err() {
        if began.elapsed() > Duration::from_secs(10) {
            return Err("the gate does not listen".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asks = match kind {
        Kind::EnvoyAsking => envoy(folder, &recipe),
        _ => nginx(folder, &recipe),
    };
    Ok(vec![asks.map_err(|error| error.to_string())?, decides])
}

fn recipe(kind: Kind) -> &'static str {
    match kind {
        Kind::EnvoyAsking => "envoy-grpc",
        _ => "nginx",
    }
}

fn nginx(folder: &Path, recipe: &str) -> std::io::Result<Child> {
    let text = format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr crit;\nevents {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  keepalive_requests 10000000;\n{recipe}}}\n"
    );
    let file = write(folder.join("nginx.conf"), &text);
    let mut nginx = on_processor_0(Path::new("nginx"));
    nginx.arg("-p").arg(folder).arg("-c").arg(file);
    nginx.stderr(Stdio::null()).spawn()
}

/// Envoy as `make deps` installs it, unless `ENVOY` names another one.
fn envoy(folder: &Path, recipe: &str) -> std::io::Result<Child> {
    let file = write(folder.join("envoy.yaml"), recipe);
    let installed = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../venv/bin/envoy");
    let program = std::env::var_os("ENVOY").map_or_else(installed, PathBuf::from);
    let mut envoy = on_processor_0(&program);
    envoy.arg("-c").arg(file);
    envoy.args(["--concurrency", "1", "--disable-hot-restart"]);
    envoy.args(["--use-dynamic-base-id", "-l", "off"]);
    envoy.stderr(Stdio::null()).spawn()
}
