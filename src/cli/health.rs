//! `clerk-gate health`: for probes where there is no other client, as in an empty image.

use clap::Args;
use http::Uri;

use super::{Ending, complain, window};

#[derive(Args, Debug)]
pub(super) struct Health {
    /// The address to ask
    #[arg(default_value = "http://127.0.0.1:9901/readyz")]
    url: Uri,
}

/// Ends well if the answer is a success.
pub(super) async fn health(health: &Health) -> Ending {
    let url = &health.url;
    let why = match window::ask(url).await {
        Ok((status, _)) if status.is_success() => return Ending::Well,
        Ok((status, _)) => format!("it answered {status}"),
        Err(why) => why,
    };
    complain(&format!("`{url}` is not well: {why}"), None);
    Ending::Failed
}
