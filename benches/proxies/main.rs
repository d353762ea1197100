//! What a request costs: the gate beside a bare pass-through, `HAProxy` and nginx.
//!
//! `cargo bench --bench proxies` runs every row; `-- --rounds 7 --requests 40000 keep-alive` runs
//! seven rounds of the rows whose names begin so, and `--gate path/to/clerk-gate` measures another
//! program. Each proxy runs on processor 0, the load and the upstream on the others. Rounds are interleaved, and ratios are taken within a round, so that a
//! machine that drifts does not move them. The figure is the processor time of the proxy for each
//! request, user and system, by the kernel's own account; the wall rate stands beside it.
//!
//! Needs `taskset`, and `haproxy` and `nginx` for their rows; a missing one is said, not skipped over
//! in silence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a measurement that cannot go on says so by a panic, and measures the wall clock"
)]

mod gateways;
mod limits;
mod load;
mod pass_through;
mod proxies;
mod shared_limits;
mod tokens;
mod upstream;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use load::{Connections, Load};
use proxies::{Kind, Proxy, Stage};
use tokens::Signer;

/// One line of the table.
struct Row {
    name: &'static str,
    proxy: Kind,
    load: fn(&Material) -> Load,
    /// Requests, as a part of what is asked for: costly ones need fewer.
    share: usize,
    /// What it may cost beside the pass-through, if there is an aim.
    aim: &'static str,
}

/// What requests are made of.
struct Material {
    one: Vec<String>,
    many: Vec<String>,
    new: Vec<String>,
}

const ROWS: &[Row] = &[
    Row {
        name: "keep-alive, pass-through",
        proxy: Kind::PassThrough,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "",
    },
    Row {
        name: "keep-alive, pass-through with a check",
        proxy: Kind::PassThroughWithCheck,
        load: |m| Load::get("/page", &m.one),
        share: 4,
        aim: "",
    },
    Row {
        name: "keep-alive, gate, one user",
        proxy: Kind::Gate,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "1.15",
    },
    Row {
        name: "keep-alive, gate, 10,000 users",
        proxy: Kind::Gate,
        load: |m| Load::get("/page", &m.many),
        share: 1,
        aim: "1.15",
    },
    Row {
        name: "keep-alive, gate, with access log",
        proxy: Kind::GateWithLog,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "1.30",
    },
    Row {
        name: "keep-alive, gate, with its last decisions",
        proxy: Kind::GateWithDecisions,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "",
    },
    Row {
        name: "keep-alive, gate, tracing one in 100",
        proxy: Kind::GateWithTraces,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "",
    },
    Row {
        name: "keep-alive, gate, every token new",
        proxy: Kind::Gate,
        load: |m| Load::get("/page", &m.new),
        share: 4,
        aim: "the pass-through with a check",
    },
    Row {
        name: "keep-alive, gate, public page",
        proxy: Kind::Gate,
        load: |_| Load::anonymous("/public/page"),
        share: 1,
        aim: "",
    },
    Row {
        name: "keep-alive, gate, signed-out redirect",
        proxy: Kind::Gate,
        load: |_| Load::navigation("/page"),
        share: 1,
        aim: "0.55",
    },
    Row {
        name: "keep-alive, nginx asking the gate",
        proxy: Kind::NginxAsking,
        load: |m| Load::get("/page", &m.one),
        share: 4,
        aim: "",
    },
    Row {
        name: "keep-alive, envoy asking the gate over gRPC",
        proxy: Kind::EnvoyAsking,
        load: |m| Load::get("/page", &m.one),
        share: 4,
        aim: "",
    },
    Row {
        name: "keep-alive, haproxy, no check",
        proxy: Kind::Haproxy,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "",
    },
    Row {
        name: "keep-alive, haproxy, jwt_verify",
        proxy: Kind::HaproxyJwt,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "",
    },
    Row {
        name: "keep-alive, nginx, no check",
        proxy: Kind::Nginx,
        load: |m| Load::get("/page", &m.one),
        share: 1,
        aim: "",
    },
    Row {
        name: "new connection, pass-through",
        proxy: Kind::PassThrough,
        load: |m| Load::get("/page", &m.one).closing(),
        share: 4,
        aim: "",
    },
    Row {
        name: "new connection, gate, one user",
        proxy: Kind::Gate,
        load: |m| Load::get("/page", &m.one).closing(),
        share: 4,
        aim: "",
    },
    Row {
        name: "new connection, gate, reuse = \"always\"",
        proxy: Kind::GateReusing,
        load: |m| Load::get("/page", &m.one).closing(),
        share: 4,
        aim: "",
    },
    Row {
        name: "1 MB answer, pass-through",
        proxy: Kind::PassThrough,
        load: |m| Load::get("/big", &m.one),
        share: 40,
        aim: "",
    },
    Row {
        name: "1 MB answer, gate, one user",
        proxy: Kind::Gate,
        load: |m| Load::get("/big", &m.one),
        share: 40,
        aim: "1.05",
    },
    Row {
        name: "1 MB upload, pass-through",
        proxy: Kind::PassThrough,
        load: |m| Load::upload("/upload", &m.one),
        share: 40,
        aim: "",
    },
    Row {
        name: "1 MB upload, gate, one user",
        proxy: Kind::Gate,
        load: |m| Load::upload("/upload", &m.one),
        share: 40,
        aim: "1.05",
    },
];

struct Arguments {
    rounds: usize,
    requests: usize,
    gate: PathBuf,
    only: Vec<String>,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments {
        rounds: 5,
        requests: 20_000,
        gate: env!("CARGO_BIN_EXE_clerk-gate").into(),
        only: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = |word: Option<String>| word.and_then(|n| n.parse().ok()).expect("a number");
        match word.as_str() {
            "--rounds" => arguments.rounds = number(words.next()),
            "--requests" => arguments.requests = number(words.next()),
            "--gate" => arguments.gate = words.next().expect("a path").into(),
            // What cargo adds.
            "--bench" => {}
            name => arguments.only.push(name.to_owned()),
        }
    }
    arguments
}

fn main() {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("--pass-through") {
        let mut address = || {
            words
                .next()
                .and_then(|a| a.parse().ok())
                .expect("an address")
        };
        let (listen, upstream) = (address(), address());
        return pass_through::run(listen, upstream, words.next().map(PathBuf::from).as_deref());
    }
    let arguments = arguments();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("the first provider");
    proxies::stay_off_processor_0();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&arguments));
}

async fn measure(arguments: &Arguments) {
    let wanted = |name: &str| {
        arguments.only.is_empty()
            || arguments
                .only
                .iter()
                .any(|only| name.starts_with(only.as_str()))
    };
    let signer = Signer::new();
    say_how_busy("before");
    if wanted("verdict") {
        verdict::measure(&signer).await;
    }
    if wanted("limits") {
        limits::measure();
    }
    if wanted("shared limits") {
        shared_limits::measure().await;
    }
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted(row.name)).collect();
    let stage = Stage {
        upstream: upstream::start().await,
        signer: &signer,
        gate: &arguments.gate,
    };
    let mut running: BTreeMap<Kind, Proxy> = BTreeMap::new();
    for kind in Kind::ALL {
        let needed =
            rows.iter().any(|row| row.proxy == kind) || (kind.has_memory_row() && wanted("memory"));
        if needed {
            match Proxy::start(kind, &stage).await {
                Ok(proxy) => drop(running.insert(kind, proxy)),
                Err(why) => println!("without {kind:?}: {why}"),
            }
        }
    }
    if wanted("memory") {
        memory(&running).await;
        starts(&stage).await;
        size(&stage);
    }
    if rows.is_empty() {
        return;
    }
    let mut material = Material {
        one: signer.tokens("one", 1),
        many: signer.tokens("many", 10_000),
        new: Vec::new(),
    };
    let mut figures: Vec<Vec<Figure>> = rows.iter().map(|_| Vec::new()).collect();
    // The first round warms caches and connections, and is not counted.
    for round in 0..=arguments.rounds {
        for (row, figures) in rows.iter().zip(&mut figures) {
            let Some(proxy) = running.get(&row.proxy) else {
                continue;
            };
            let requests = arguments.requests / row.share;
            if row.name.contains("every token new") {
                material.new = signer.tokens(&format!("new{round}"), requests);
            }
            let load = (row.load)(&material);
            let figure = Figure::take(proxy, &load, requests).await;
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    print_table(&rows, &figures);
    say_how_busy("after");
}

/// Says what else the machine does: figures of a busy one are worth less.
fn say_how_busy(when: &str) {
    let processors = std::thread::available_parallelism().unwrap();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    println!("{processors} processors, load {when}: {}", load.join(" "));
}

/// What one round of a row came to.
#[derive(Clone, Copy)]
struct Figure {
    /// Processor time of the proxy for each request, in microseconds.
    micros: f64,
    /// Requests in a second of the wall clock.
    rate: f64,
}

impl Figure {
    async fn take(proxy: &Proxy, load: &Load, requests: usize) -> Self {
        let before = proxy.processor_time();
        let wall = load.run(proxy.address, requests, Connections(16)).await;
        let used = proxy.processor_time().saturating_sub(before);
        Self {
            micros: used.as_secs_f64() * 1e6 / requests as f64,
            rate: requests as f64 / wall.as_secs_f64(),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_table(rows: &[&Row], figures: &[Vec<Figure>]) {
    println!(
        "\n| row | CPU µs a request | beside the pass-through | lowest and highest | aim | requests a second |"
    );
    println!("|---|---|---|---|---|---|");
    let mut baseline: &[Figure] = &[];
    for (row, figures) in rows.iter().zip(figures) {
        if figures.is_empty() {
            continue;
        }
        if row.proxy == Kind::PassThrough {
            baseline = figures;
        }
        let mut ratios: Vec<f64> = figures
            .iter()
            .zip(baseline)
            .map(|(a, b)| a.micros / b.micros)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let end = |ratio: Option<&f64>| ratio.copied().unwrap_or(f64::NAN);
        println!(
            "| {} | {:.1} | {:.2} | {:.2} – {:.2} | {} | {:.0} |",
            row.name,
            median(figures.iter().map(|f| f.micros).collect()),
            median(ratios.clone()),
            end(ratios.first()),
            end(ratios.last()),
            row.aim,
            median(figures.iter().map(|f| f.rate).collect()),
        );
    }
}

/// What a connection costs that is kept open and does nothing, after one request.
async fn memory(running: &BTreeMap<Kind, Proxy>) {
    const OPEN: usize = 2_000;
    println!("\n| idle keep-alive connections | KiB each |\n|---|---|");
    for (kind, proxy) in running.iter().filter(|(kind, _)| kind.has_memory_row()) {
        // What is paid once is paid now.
        Load::anonymous("/public/page")
            .run(proxy.address, 2_000, Connections(64))
            .await;
        let before = proxy.resident();
        let held = load::hold(proxy.address, OPEN).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let grown = proxy.resident().saturating_sub(before);
        drop(held);
        println!("| {kind:?} | {:.1} |", grown as f64 / 1024.0 / OPEN as f64);
    }
}

/// What passes from the start of a process to its first answer.
async fn starts(stage: &Stage<'_>) {
    println!("\n| from start to the first answer | milliseconds |\n|---|---|");
    for kind in Kind::ALL.into_iter().filter(|kind| kind.has_memory_row()) {
        let mut taken = Vec::new();
        for _ in 0..7 {
            match Proxy::start(kind, stage).await {
                Ok(proxy) => taken.push(proxy.started_in.as_secs_f64() * 1e3),
                Err(why) => return println!("without {kind:?}: {why}"),
            }
        }
        println!("| {kind:?} | {:.1} |", median(taken));
    }
}

fn size(stage: &Stage<'_>) {
    let bytes = std::fs::metadata(stage.gate).unwrap().len();
    println!("\nThe program is {:.1} MB long.", bytes as f64 / 1e6);
}
