//! How long a charge takes that several gates share, at a fixed rate, beside a bare `PING` over the same
//! client.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clerk_gate::core::budget::{BudgetKey, Holder, Rate};
use clerk_gate::store::redis::{Addresses, OnError};
use clerk_gate::store::{Redis, Store};

/// Charges in a second.
const RATE: usize = 5_000;

/// How long a round takes, in milliseconds.
const ROUND_MS: usize = 3_000;

/// Rounds of each; the first one warms up and is not counted.
const ROUNDS: usize = 6;

/// How many people charges are of.
const PEOPLE: usize = 10_000;

struct Server {
    child: Child,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn server() -> Result<(Server, String), String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{port}"));
    std::fs::create_dir_all(&folder).unwrap();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(&folder)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    Ok((
        Server { child, folder },
        format!("redis://127.0.0.1:{port}"),
    ))
}

/// Prints the times of charges and of pings, in microseconds.
pub async fn measure() {
    let (_server, url) = match server() {
        Ok(started) => started,
        Err(why) => return println!("without redis-server: {why}"),
    };
    let client = redis::Client::open(url.as_str()).unwrap();
    let connection = loop {
        match client.get_multiplexed_async_connection().await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let redis = Redis::new(
        &Addresses::one(&url),
        Duration::from_millis(50),
        OnError::Refuse,
    )
    .unwrap();
    let store = Arc::new(Store::Redis(Box::new(redis)));
    let keys: Vec<BudgetKey> = (0..PEOPLE).map(key).collect();
    let keys = Arc::new(keys);
    let (mut charges, mut pings) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let of_charges = at_a_fixed_rate(|number| {
            let (store, keys) = (Arc::clone(&store), Arc::clone(&keys));
            async move {
                let rate = Rate::SlidingWindow {
                    requests: 1000,
                    window_ms: 60_000,
                };
                store
                    .spend(&keys[number % PEOPLE], rate, 1, 0)
                    .await
                    .is_ok()
            }
        })
        .await;
        let of_pings = at_a_fixed_rate(|_| {
            let mut connection = connection.clone();
            async move {
                redis::cmd("PING")
                    .query_async::<String>(&mut connection)
                    .await
                    .is_ok()
            }
        })
        .await;
        if round > 0 {
            charges.push(of_charges);
            pings.push(of_pings);
        }
    }
    println!(
        "\n| {RATE} a second, microseconds | p50 | p99 | p99.9 | failed |\n|---|---|---|---|---|"
    );
    for (name, rounds) in [("a charge", &charges), ("`PING`", &pings)] {
        let median = |of: fn(&Times) -> f64| super::median(rounds.iter().map(of).collect());
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {} |",
            median(|times| times.at(0.5)),
            median(|times| times.at(0.99)),
            median(|times| times.at(0.999)),
            rounds.iter().map(|times| times.failed).sum::<usize>(),
        );
    }
    let ratios = charges.iter().zip(&pings);
    let ratios = ratios.map(|(charge, ping)| charge.at(0.99) / ping.at(0.99));
    println!(
        "\np99 of a charge beside a `PING`: {:.2}",
        super::median(ratios.collect())
    );
}

fn key(number: usize) -> BudgetKey {
    BudgetKey {
        budget: Arc::from("api"),
        holder: Holder::Caller {
            kind: "user",
            id: format!("clerk.example.com/user_{number:027}").into(),
        },
    }
}

struct Times {
    /// In microseconds, the shortest first.
    sorted: Vec<f64>,
    failed: usize,
}

impl Times {
    fn at(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let index = (self.sorted.len() as f64 * share) as usize;
        self.sorted[index.min(self.sorted.len() - 1)]
    }
}

/// Has `call` made at a fixed rate, whether or not those before have ended.
async fn at_a_fixed_rate<F>(call: impl Fn(usize) -> F) -> Times
where
    F: Future<Output = bool> + Send + 'static,
{
    let began = Instant::now();
    let mut calls = Vec::with_capacity(RATE * ROUND_MS / 1000);
    for tick in 0..ROUND_MS {
        let due = began + Duration::from_millis(tick as u64);
        tokio::time::sleep_until(due.into()).await;
        for _ in 0..RATE / 1000 {
            let call = call(calls.len());
            let sent = Instant::now();
            calls.push(tokio::spawn(async move { (call.await, sent.elapsed()) }));
        }
    }
    let (mut sorted, mut failed) = (Vec::with_capacity(calls.len()), 0);
    for call in calls {
        let (succeeded, took) = call.await.unwrap();
        failed += usize::from(!succeeded);
        sorted.push(took.as_secs_f64() * 1e6);
    }
    sorted.sort_by(f64::total_cmp);
    Times { sorted, failed }
}
