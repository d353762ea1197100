//! The configuration: TOML, read, checked and handed out as one value.

mod model;

pub use model::{
    ClerkCookies, Config, HostHeader, IdentityConfig, KeySource, Limits, LogConfig, LogFormat,
    LogLevel, UpstreamConfig,
};
