//! `[forward-auth]` and `[ext-authz]`: who may ask for verdicts, and where.

use super::clerk::ReadFile;
use super::listen::{self, ListenAddress};
use super::model::DoorConfig;
use super::report::{Problem, Problems};
use super::section::{Placed, Section};
use super::settings::{self, Everybody};

/// The shortest secret, in bytes: whoever has it is told who anybody is.
const LEAST_SECRET_BYTES: usize = 16;

/// A table that opens doors, by how they are asked.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// `[forward-auth]`.
    OverHttp,
    /// `[ext-authz]`.
    OverGrpc,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::OverHttp => "forward-auth",
            Self::OverGrpc => "ext-authz",
        }
    }

    /// An address that is not the other one's.
    fn example(self) -> &'static str {
        match self {
            Self::OverHttp => "127.0.0.1:8081",
            Self::OverGrpc => "127.0.0.1:8082",
        }
    }
}

/// Reads a table. `None` if it is off. The place is the one of the address.
pub(super) fn read(
    root: &mut Section<'_>,
    asked: Asked,
    files: ReadFile<'_>,
) -> Option<Placed<DoorConfig>> {
    let name = asked.name();
    let written = root.has(name);
    let mut section = root.section(name);
    let (problems, place) = (section.problems(), section.place().clone());
    let (has_listen, has_secret) = (section.has("listen"), section.has("secret-file"));
    let listen = listen::one(&mut section, "listen");
    let peers = section.texts("peers");
    let secret = section.text("secret-file").and_then(|file| {
        let secret = file.into_file(&section, "secret-file", files)?;
        let plain = secret.value.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && secret.value.len() >= LEAST_SECRET_BYTES {
            return Some(secret.value);
        }
        problems.add(
            Problem::error(
                &secret.place,
                format!("`secret-file`: a secret is one line of at least {LEAST_SECRET_BYTES} visible characters"),
            )
            .hint("make one: `openssl rand -hex 32`"),
        );
        None
    });
    section.finish();
    if !written {
        return None;
    }
    if !has_listen {
        problems.add(
            Problem::error(
                &place,
                format!("`[{name}]` has no `listen`: there is nowhere to ask"),
            )
            .hint(format!(
                "add `listen = \"{}\"`, an address that only the gateway reaches",
                asked.example()
            )),
        );
    }
    let somebody = peers.as_ref().is_some_and(|peers| !peers.is_empty());
    if !somebody && !has_secret {
        problems.add(
            Problem::error(
                &place,
                format!("nobody may ask: `[{name}]` has neither `peers` nor `secret-file`"),
            )
            .hint("name the gateways: `peers = [\"127.0.0.1\"]`"),
        );
    }
    let everybody = Everybody {
        may: "everybody may ask for verdicts",
        hint: "whoever may ask learns who the owner of a token is; name the gateways, or set `secret-file`",
    };
    let minded = (!has_secret).then_some(&everybody);
    let peers = settings::networks(peers.unwrap_or_default(), minded, problems);
    let listen = listen?;
    Some(Placed::new(
        DoorConfig {
            listen: listen.value,
            peers,
            secret: secret.map(Into::into),
        },
        listen.place,
    ))
}

/// Reports an address that another listener has.
pub(super) fn address(
    asked: Asked,
    doors: &Placed<DoorConfig>,
    others: &[(&str, &ListenAddress)],
    problems: &Problems,
) {
    let name = format!("[{}] listen", asked.name());
    let hint = "verdicts need an address of their own, which only the gateway reaches";
    let own = (name.as_str(), &doors.value.listen);
    listen::apart(own, &doors.place, others, hint, problems);
}
