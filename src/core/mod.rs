//! The decision, pure: no async, no clock, no sockets.
//!
//! A request is read once ([`facts`]), its credentials are picked out ([`credentials`]), its sender
//! is made out ([`auth`]) and the policy is judged ([`policy`], [`requirement`]). [`decide`]
//! writes the order of all this, once; [`reply`] turns a refusal into an answer. What has to be
//! found out elsewhere is asked as a [`question`].

pub mod auth;
pub mod authorization;
pub mod binding;
pub mod budget;
pub mod call;
pub mod continuity;
pub mod cookies;
pub mod credentials;
pub mod csp;
pub mod decide;
pub mod door;
pub mod edge;
pub mod explain;
pub mod facts;
pub mod handshake;
pub mod http2;
pub mod https_redirect;
pub mod identity;
pub mod identity_headers;
pub mod injection;
pub mod instance;
pub mod jwt;
pub mod key;
pub mod machine;
mod masked;
pub mod notice;
pub mod organization_sync;
pub mod origin;
pub mod path;
pub mod pattern;
pub mod peers;
pub mod persona;
pub mod policy;
pub mod prefix;
pub mod protected_resource;
pub mod proxy_path;
pub mod question;
pub mod readings;
pub mod reason;
pub mod recorded;
pub mod redirect;
mod referrer;
pub mod reply;
pub mod requirement;
pub mod reserved;
pub mod ride_through;
mod satellite;
pub mod session_cookies;
pub mod shadow;
pub mod signed_assertion;
pub mod step_up;
pub mod template;
pub mod trace_context;
pub mod verify;
mod wording;
