//! `[store.redis]`: what several gates share, and by way of which servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::clerk::ReadFile;
use super::keys::value_or_file;
use super::model::RedisConfig;
use super::report::{Place, Problem};
use super::section::{Placed, Section};
use crate::store::Redis;
use crate::store::redis::{Addresses, OnError, Servers, is_address, is_tls};
use crate::tls::{self, ExtraRoots};

/// How long an answer may take where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(50);

/// What an address looks like.
const SUCH_AS: &str = "it is such as `redis://user:password@host:6379/0`, or `rediss://` for TLS";

/// Reads `[store]`. `None` if counts stay in memory.
pub(super) fn read(mut section: Section<'_>, files: ReadFile<'_>) -> Option<RedisConfig> {
    let written = section.has("redis");
    let mut redis = section.section("redis");
    section.finish();
    let (problems, place) = (redis.problems(), redis.place().clone());
    let before = problems.count();
    let servers = servers(&mut redis, files);
    let roots = roots(&mut redis, files);
    let timeout = redis.duration("timeout", Duration::from_millis(1)..=Duration::from_secs(5));
    let on_error = redis.choice(
        "on-error",
        &[
            ("local", OnError::Local),
            ("allow", OnError::Allow),
            ("refuse", OnError::Refuse),
        ],
    );
    redis.finish();
    let Some(servers) = servers else {
        if written && problems.count() == before && place != Place::Nowhere {
            problems.add(
                Problem::error(&place, "`[store.redis]` has no `url`").hint(
                    "write `url = \"redis://127.0.0.1:6379\"`, or name a file in `url-file`, or write `sentinels` and `master`, or `cluster`",
                ),
            );
        }
        return None;
    };
    if let Some(roots) = &roots
        && !servers.encrypted
    {
        problems.add(
            Problem::error(
                &roots.place,
                "`ca-file` is for connections that are not encrypted",
            )
            .hint("write `rediss://` in place of `redis://`"),
        );
        return None;
    }
    let config = RedisConfig {
        addresses: Addresses {
            servers: servers.value,
            roots: roots.map(|roots| roots.value),
        },
        timeout: timeout.unwrap_or(TIMEOUT),
        on_error: on_error.map_or(OnError::Local, |read| read.value),
    };
    // SECURITY: nothing of the address is told: there may be a password in it.
    if Redis::new(&config.addresses, config.timeout, config.on_error).is_err() {
        problems.add(
            Problem::error(&servers.place, "the addresses do not go together")
                .hint("name, password and scheme are the same in each"),
        );
        return None;
    }
    Some(config)
}

/// Servers as they are written.
struct Written {
    value: Servers,
    place: Place,
    /// Whether any of the connections is.
    encrypted: bool,
}

/// Where the servers are, in one of three ways.
fn servers(redis: &mut Section<'_>, files: ReadFile<'_>) -> Option<Written> {
    const WAYS: [&str; 3] = ["url", "sentinels", "cluster"];
    let written = WAYS.map(|way| redis.has(way) || way == "url" && redis.has("url-file"));
    let url = value_or_file(redis, "url", "url-file", files);
    let sentinels = redis.texts("sentinels");
    let master = redis.text("master");
    let cluster = redis.texts("cluster");
    let problems = redis.problems();
    let mut ways = WAYS.iter().zip(written).filter(|(_, written)| *written);
    let (first, second) = (ways.next(), ways.next());
    if let (Some((first, _)), Some((second, _))) = (first, second) {
        problems.add(
            Problem::error(
                redis.place(),
                format!("`{first}` and `{second}` are both given"),
            )
            .hint("keep one of them: they are three ways to the same thing"),
        );
        return None;
    }
    if let (Some(master), None) = (&master, &sentinels) {
        problems.add(
            Problem::error(&master.place, "`master` is given without `sentinels`").hint(
                "name the Sentinels that know it: `sentinels = [\"redis://10.0.0.7:26379\"]`",
            ),
        );
        return None;
    }
    let addresses = |list: &[Placed<String>], what: &str| -> Option<()> {
        let wrong = list.iter().find(|url| !is_address(&url.value));
        // SECURITY: nothing of the address is told: there may be a password in it.
        if let Some(wrong) = wrong {
            let said = match what {
                "sentinels" | "cluster" => format!("an address in `{what}` is none of a Redis"),
                _ => format!("`{what}` is no address of a Redis"),
            };
            problems.add(Problem::error(&wrong.place, said).hint(SUCH_AS));
        }
        wrong.is_none().then_some(())
    };
    let some = |list: Vec<Placed<String>>, what: &str| {
        if list.is_empty() {
            problems.add(Problem::error(redis.place(), format!("`{what}` is empty")));
            return None;
        }
        addresses(&list, what)?;
        Some(list)
    };
    if let Some(url) = url {
        addresses(std::slice::from_ref(&url), "url")?;
        return Some(Written {
            encrypted: is_tls(&url.value),
            value: Servers::One(url.value.into()),
            place: url.place,
        });
    }
    if let Some(list) = sentinels {
        let list = some(list, "sentinels")?;
        let place = list.first()?.place.clone();
        let Some(master) = master else {
            problems.add(
                Problem::error(&place, "`sentinels` is given without `master`")
                    .hint("write the name that they know the server by: `master = \"mymaster\"`"),
            );
            return None;
        };
        if master.value.is_empty() || master.value.contains("://") {
            addresses(std::slice::from_ref(&master), "master")?;
        }
        let encrypted = list.iter().any(|url| is_tls(&url.value)) || is_tls(&master.value);
        let sentinels = list.into_iter().map(|url| url.value.into()).collect();
        let master = master.value.into();
        return Some(Written {
            value: Servers::Sentinel { sentinels, master },
            place,
            encrypted,
        });
    }
    let list = some(cluster?, "cluster")?;
    Some(Written {
        place: list.first()?.place.clone(),
        encrypted: list.iter().any(|url| is_tls(&url.value)),
        value: Servers::Cluster(list.into_iter().map(|url| url.value.into()).collect()),
    })
}

/// The certificates that those of the servers are checked with.
fn roots(redis: &mut Section<'_>, files: ReadFile<'_>) -> Option<Placed<Arc<[u8]>>> {
    let path = redis.text("ca-file")?;
    let why = match files(Path::new(&path.value)) {
        Ok(pem) => match tls::client_config(&ExtraRoots(pem.clone())) {
            Ok(_) => return Some(Placed::new(pem.into(), path.place)),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string().to_lowercase(),
    };
    redis.problems().add(Problem::error(
        &path.place,
        format!("`ca-file`: cannot use `{}`: {why}", path.value),
    ));
    None
}
