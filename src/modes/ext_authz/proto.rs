//! The messages of Envoy's external authorization, version 3, as far as the gate reads and writes them.
//!
//! Names and field numbers are those of Envoy's published protocol (`envoyproxy/data-plane-api`,
//! Apache-2.0). Each message says which one it stands for. Fields that the gate neither reads nor
//! writes are left out: protobuf skips what it does not know. Nothing is generated, so nothing has
//! to be generated anew; a further field is a further line, with its published number.

use std::collections::HashMap;

use prost::{Enumeration, Message, Oneof};

/// The service, as it is called on the wire.
pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// The path that its one method is called by.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// `envoy.service.auth.v3.CheckRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CheckRequest {
    /// What is said of the request.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// `envoy.service.auth.v3.AttributeContext`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct AttributeContext {
    /// Where the request came from.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The request.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
}

/// `envoy.service.auth.v3.AttributeContext.Peer`.
#[derive(Clone, PartialEq, Message)]
pub struct Peer {
    /// The address of the other end.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, PartialEq, Message)]
pub struct Address {
    /// The address, where it is one of a network.
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub struct SocketAddress {
    /// The address as text.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// `envoy.service.auth.v3.AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Request {
    /// The request, where it is one of HTTP.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `envoy.service.auth.v3.AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpRequest {
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The headers, those of one name in one line.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// Path and query.
    #[prost(string, tag = "4")]
    pub path: String,
    /// `Host`, or `:authority`.
    #[prost(string, tag = "5")]
    pub host: String,
    /// The scheme.
    #[prost(string, tag = "6")]
    pub scheme: String,
    /// The protocol.
    #[prost(string, tag = "10")]
    pub protocol: String,
    /// The headers as they came.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderMap {
    /// The lines.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value as text.
    #[prost(string, tag = "2")]
    pub value: String,
    /// The value as bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// `envoy.service.auth.v3.CheckResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CheckResponse {
    /// Whether the request may go on.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What becomes of it.
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
}

/// `envoy.service.auth.v3.CheckResponse.http_response`.
#[derive(Clone, PartialEq, Oneof)]
#[prost(skip_debug)]
pub enum HttpResponse {
    /// It does not go on.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// It goes on.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A code of gRPC's.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The reason, for whoever reads Envoy's log.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `envoy.service.auth.v3.DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct DeniedHttpResponse {
    /// The status of the answer.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Its body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    /// The status.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `envoy.service.auth.v3.OkHttpResponse`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct OkHttpResponse {
    /// Headers that the application gets.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Headers that it does not get.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    /// Headers that the client gets, beside those of the application.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Parameters of the query that the application does not get.
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// The same as the action, as Envoy was told before there were any: `google.protobuf.BoolValue`.
    #[prost(message, optional, tag = "2")]
    pub append: Option<bool>,
    /// What becomes of headers of the same name.
    #[prost(enumeration = "AppendAction", tag = "3")]
    pub append_action: i32,
}

/// `envoy.config.core.v3.HeaderValueOption.HeaderAppendAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AppendAction {
    /// They stay.
    AppendIfExistsOrAdd = 0,
    /// This one is left out if there are any.
    AddIfAbsent = 1,
    /// They go.
    OverwriteIfExistsOrAdd = 2,
    /// They go; without any, this one is left out.
    OverwriteIfExists = 3,
}

/// A code of gRPC's that an answer can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The request goes on.
    Ok = 0,
    /// It does not.
    PermissionDenied = 7,
    /// It does not, since nobody knows who asks.
    Unauthenticated = 16,
}
