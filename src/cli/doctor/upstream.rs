//! Whether the application can be reached by the gate, and by nobody else.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::{Check, Finding};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::core::origin::Origin;
use crate::server;
use crate::upstream::address::ServerAddress;
use crate::upstream::group::Server;

/// The longest that a connection is waited for, whatever the configuration says.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the machine's own addresses are tried.
const NEARBY: Duration = Duration::from_secs(1);

/// What is said of every upstream. An application gets a connection, and no request.
pub(super) async fn all(config: &Config) -> Vec<Finding> {
    let clock: SharedClock = Arc::new(SystemClock);
    let snapshot = match server::snapshot(config, &clock) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let said = format!("the gate cannot be made: {error:#}");
            return vec![Finding::problem(
                Check::Upstream,
                said,
                "correct that first",
            )];
        }
    };
    let own = own_addresses();
    let signed = config.assertion.is_some();
    let upstreams = config.upstreams.iter().zip(&snapshot.upstreams);
    let looked_at = join_all(upstreams.map(|(written, upstream)| async {
        let servers: Vec<_> = written.servers().collect();
        let reached = upstream.servers().iter().map(reached);
        let nearby = servers.iter().map(|at| around(at, &own, signed));
        let (reached, nearby) = tokio::join!(join_all(reached), join_all(nearby));
        (told(&servers, reached), nearby)
    }));
    let mut findings = Vec::new();
    for (reached, nearby) in looked_at.await {
        findings.extend(reached);
        findings.extend(nearby);
    }
    findings
}

/// What is said of the servers of one upstream. One that is down is no problem while another is up.
fn told(servers: &[&ServerAddress], reached: Vec<Result<(), String>>) -> Vec<Finding> {
    let check = Check::Upstream;
    let some = reached.iter().any(Result::is_ok);
    let findings = servers
        .iter()
        .zip(reached)
        .map(|(at, reached)| match reached {
            Ok(()) => Finding::well(check, format!("`{at}` takes connections")),
            Err(why) => {
                let said = format!("`{at}` cannot be reached: {why}");
                let hint = "start the application, or correct its address";
                if some {
                    Finding::warning(check, said, hint)
                } else {
                    Finding::problem(check, said, hint)
                }
            }
        });
    findings.collect()
}

/// Whether the gate gets a connection to a server, as it would for a request. The error says why not.
async fn reached(server: &Server) -> Result<(), String> {
    let reached = timeout(PATIENCE, server.reach()).await;
    let error = match reached {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    Err(match error.kind() {
        io::ErrorKind::TimedOut => "no connection in time".to_owned(),
        io::ErrorKind::Unsupported => "it does not speak what `protocol` says".to_owned(),
        _ => error.to_string().to_lowercase(),
    })
}

/// Name or address, and port.
fn place(origin: &Origin) -> (String, u16) {
    let host = origin.host();
    let port = host.port().unwrap_or(origin.scheme().default_port());
    (host.name().trim_matches(['[', ']']).to_owned(), port)
}

/// Whether others than the gate get to the application. `own` are addresses of this machine that
/// others can reach.
async fn around(at: &ServerAddress, own: &[IpAddr], signed: bool) -> Finding {
    let check = Check::AroundTheGate;
    let origin = match at {
        ServerAddress::Tcp(origin) => origin,
        ServerAddress::Unix(path) => return around_socket(path),
    };
    if !origin.host().is_loopback() {
        return Finding::skipped(
            check,
            format!(
                "`{origin}` is another machine: whether the gate alone reaches it cannot be seen from here"
            ),
        );
    }
    let (_, port) = place(origin);
    for address in own {
        let at = SocketAddr::new(*address, port);
        if matches!(timeout(NEARBY, TcpStream::connect(at)).await, Ok(Ok(_))) {
            return open(&at.to_string(), signed);
        }
    }
    match own.len() {
        0 => Finding::skipped(check, "this machine has no address that others could reach"),
        _ => Finding::well(check, format!("`{origin}` answers on this machine only")),
    }
}

fn open(at: &str, signed: bool) -> Finding {
    let check = Check::AroundTheGate;
    if signed {
        return Finding::warning(
            check,
            format!("the application answers at `{at}`, around the gate"),
            "see to it that it takes no request without a signed assertion, or have it listen on `127.0.0.1`",
        );
    }
    Finding::problem(
        check,
        format!(
            "the application answers at `{at}`, around the gate: whoever gets there writes `x-user-id` as they like"
        ),
        "have it listen on `127.0.0.1`, close the port to others, or let it verify a signed assertion (`[assertion]`)",
    )
}

fn around_socket(path: &Path) -> Finding {
    let check = Check::AroundTheGate;
    let name = path.display();
    match std::fs::metadata(path) {
        Ok(known) if known.permissions().mode() & 0o002 != 0 => Finding::warning(
            check,
            format!("every account of this machine may connect to `{name}`"),
            format!("`chmod o-rwx {name}`, with a group that the gate is in"),
        ),
        Ok(_) => Finding::well(check, format!("not every account may connect to `{name}`")),
        Err(error) => Finding::skipped(check, format!("`{name}`: {error}").to_lowercase()),
    }
}

/// Addresses of this machine that lead to others: those that it would send from. Nothing is sent.
fn own_addresses() -> Vec<IpAddr> {
    // Addresses for documents (RFC 5737, RFC 3849): nobody has them.
    let ways = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let own = ways.into_iter().filter_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    own.filter(|address| !address.is_loopback() && !address.is_unspecified())
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::finding::Verdict;
    use super::*;
    use crate::config::{self, Source, Surroundings};

    fn config(port: u16) -> Config {
        let text = format!(
            "clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\nupstream.url = \"http://127.0.0.1:{port}\"\n"
        );
        let surroundings = Surroundings {
            environment: &Vec::new(),
            flags: &[],
            files: &|_| Err(std::io::ErrorKind::NotFound.into()),
            now_ms: 0,
        };
        config::load(&Source::new("x", text), &surroundings)
            .unwrap()
            .config
    }

    /// Another address of this machine, which stands for one that others reach.
    const OTHER: [u8; 4] = [127, 0, 0, 2];

    #[tokio::test]
    async fn an_application_that_listens_everywhere_is_found_around_the_gate() {
        let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let config = config(everywhere.local_addr().unwrap().port());
        let url = &config.upstreams[0].url;
        let found = around(url, &[OTHER.into()], false).await;
        assert_eq!(found.verdict(), Verdict::Problem);
        assert!(found.said().contains("127.0.0.2"), "{}", found.said());
        let found = around(url, &[OTHER.into()], true).await;
        assert_eq!(found.verdict(), Verdict::Warning);
    }

    #[tokio::test]
    async fn an_application_on_one_address_of_this_machine_is_behind_the_gate() {
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config(here.local_addr().unwrap().port());
        let url = &config.upstreams[0].url;
        let found = around(url, &[OTHER.into()], false).await;
        assert_eq!(found.verdict(), Verdict::Well);
        let found = around(url, &[], false).await;
        assert_eq!(found.verdict(), Verdict::Skipped);
    }

    #[tokio::test]
    async fn a_socket_for_every_account_is_told() {
        let path = std::env::temp_dir().join(format!("clerk-gate-doctor-{}", std::process::id()));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let mut verdicts = Vec::new();
        for mode in [0o777, 0o770] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            verdicts.push(around_socket(&path).verdict());
        }
        std::fs::remove_file(&path).unwrap();
        drop(listener);
        assert_eq!(verdicts, [Verdict::Warning, Verdict::Well]);
        assert_eq!(around_socket(&path).verdict(), Verdict::Skipped);
    }

    #[tokio::test]
    async fn an_application_that_does_not_run_is_a_problem() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config(gone.local_addr().unwrap().port());
        let at = &config.upstreams[0].url;
        let clock: SharedClock = Arc::new(SystemClock);
        let snapshot = server::snapshot(&config, &clock).unwrap();
        let server = &snapshot.upstreams[0].servers()[0];
        assert_eq!(reached(server).await, Ok(()));
        drop(gone);
        let why = reached(server).await;
        assert!(why.is_err());
        let verdict = |reached| told(&[at, at], reached)[0].verdict();
        assert_eq!(verdict(vec![why.clone(), why.clone()]), Verdict::Problem);
        assert_eq!(verdict(vec![why, Ok(())]), Verdict::Warning);
    }
}
