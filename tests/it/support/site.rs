//! What a gate of a process of its own stands between.

use std::path::PathBuf;
use std::sync::Arc;

use clerk_gate::clock::{Clock as _, SystemClock};
use clerk_gate::standin::{StandIn, StandInOptions};

use super::program::file;
use super::upstream::RecordingUpstream;

/// A Clerk whose clock is that of this machine.
pub async fn clerk() -> StandIn {
    StandIn::start(StandInOptions::new(Arc::new(|| SystemClock.now_ms())))
        .await
        .unwrap()
}

/// A stand-in and an upstream, and the file that the secret key is in.
pub struct Site {
    pub clerk: StandIn,
    pub upstream: RecordingUpstream,
    pub secret: PathBuf,
}

impl Site {
    pub async fn new(name: &str) -> Self {
        let clerk = clerk().await;
        Self {
            secret: file(&format!("{name}-secret"), clerk.secret_key()),
            upstream: RecordingUpstream::start().await,
            clerk,
        }
    }

    /// A configuration that listens there, as it stands in TOML, and in which `/open/**` requires
    /// this, with more at its end.
    pub fn text(&self, listen: &str, require: &str, more: &str) -> String {
        format!(
            "listen = {listen}\n\
             clerk = {{ publishable-key = \"{}\", secret-key-file = \"{}\", api-url = \"{url}\", \
             frontend-api-url = \"{url}\", sign-in-url = \"{url}/sign-in\" }}\n\
             upstream.url = \"http://{}\"\n\
             admin.listen = \"off\"\n\
             [[route]]\nname = \"open\"\npath = \"/open/**\"\nrequire = \"{require}\"\n{more}",
            self.clerk.publishable_key(),
            self.secret.display(),
            self.upstream.address,
            url = self.clerk.url(),
        )
    }
}
