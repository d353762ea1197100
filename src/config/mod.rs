//! The configuration: TOML, read, checked and handed out as one value.
//!
//! [`load`] reads a file into values with places (`tree`), lays the environment and flags over it
//! (`environment`), reads section by section into checked types (`section`, the modules named after
//! the tables, and `written`, which calls them) and looks for what is written well and means something
//! else (`lints`, `views`). It reports every problem at once (`report`) and hands out a [`Config`] only
//! if there is none.

mod address;
mod assertions;
mod clerk;
mod coverage;
mod doors;
mod environment;
mod frontend_api_proxy;
mod group;
mod health;
mod http2;
mod https_redirect;
mod inject;
mod keys;
mod limit;
mod lints;
mod listen;
mod live;
mod load;
mod model;
mod organization_sync;
mod persona;
mod prefix;
mod proxy_protocol;
mod quantities;
mod reference;
mod report;
mod requirement;
mod ride_through;
mod routes;
mod satellite;
mod schema;
mod section;
mod session;
mod settings;
mod shadow;
mod shape;
mod signed_assertion;
mod sites;
mod source;
mod store;
mod survey;
mod table;
mod templates;
mod tls;
mod traces;
mod tree;
mod trust;
mod upstream;
mod views;
mod webhooks;
mod written;

pub use crate::upstream::Protocol;
pub use environment::{Environment, FlagValue, names_in};
pub use listen::ListenAddress;
pub use load::{Loaded, Surroundings, load};
pub use model::{
    AssertionConfig, ClerkConfig, ClerkCookies, ClientCertificate, Config, DoorConfig, HostHeader,
    Http2Config, IdentityConfig, KeySource, Limits, Listening, LogConfig, LogFormat, LogLevel,
    RedisConfig, ShadowConfig, Shutdown, TracesConfig, UpstreamConfig,
};
pub use persona::parse_persona;
pub use report::{Colour, Report, Severity};
pub use schema::schema;
pub use source::Source;
pub use table::route_table;
