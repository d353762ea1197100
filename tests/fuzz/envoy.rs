//! The message in which Envoy tells of a request, and the call that it comes in.

use std::net::IpAddr;

use bytes::Bytes;
use clerk_gate::core::door::{HeadLimits, Original};
use clerk_gate::modes::ext_authz::Said;
use clerk_gate::modes::ext_authz::proto::{
    Address, AttributeContext, CheckRequest, HeaderMap, HeaderValue, HttpRequest, Peer, Request,
    SocketAddress,
};
use futures_util::FutureExt as _;
use http::Version;
use http_body_util::Full;
use prost::Message as _;
use tonic::codec::{Codec as _, Streaming};
use tonic_prost::ProstCodec;

use crate::engine::Outcome;
use crate::support::invariants::{self, ensure};
use crate::support::pure::Oracle;
use crate::targets::{PRODUCTION, sign};

/// How large a head may be here: so small that many are larger.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 192,
    count: 6,
};

/// The same for what is written back, which names the client once more.
const WIDER: HeadLimits = HeadLimits {
    bytes: 4096,
    count: 16,
};

/// The longest message in a frame here.
const LONGEST_MESSAGE: usize = 256;

/// A message about a request with these headers.
fn about(client: &str, http: HttpRequest) -> CheckRequest {
    let address = SocketAddress {
        address: client.to_owned(),
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(Address {
                    socket_address: Some(address),
                }),
            }),
            request: Some(Request { http: Some(http) }),
        }),
    }
}

fn well() -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        path: "/admin/x?y=1".to_owned(),
        host: "app.example.com".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        ..HttpRequest::default()
    }
}

fn raw(lines: &[(&str, &[u8])]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| HeaderValue {
        key: (*name).to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    });
    HeaderMap {
        headers: lines.collect(),
    }
}

/// Some of each kind.
pub fn messages() -> Vec<Vec<u8>> {
    let joined = [(":method", "GET"), ("cookie", "a=b"), ("x-user-id", "root")];
    let joined = joined.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let lines: [(&str, &[u8]); 5] = [
        (":path", b"/admin/x?y=1"),
        ("cookie", b"a=1"),
        ("Cookie", b"b=2"),
        ("x-forwarded-for", b"198.51.100.1, 203.0.113.7, 203.0.113.7"),
        ("x-odd", b"\xff, y"),
    ];
    let all = [
        about("203.0.113.7", well()),
        about(
            "::ffff:203.0.113.7",
            HttpRequest {
                headers: joined.into(),
                ..well()
            },
        ),
        about(
            "203.0.113.7",
            HttpRequest {
                header_map: Some(raw(&lines)),
                protocol: "HTTP/1.0".to_owned(),
                ..well()
            },
        ),
        about("0.0.0.0", well()),
        CheckRequest::default(),
    ];
    all.iter().map(CheckRequest::encode_to_vec).collect()
}

/// The first message of a call whose body is this; the error says what kind of one it is.
fn framed(body: Vec<u8>) -> Result<Option<CheckRequest>, String> {
    let decoder = ProstCodec::<CheckRequest, CheckRequest>::default().decoder();
    let body = Full::new(Bytes::from(body));
    let mut call = Streaming::new_request(decoder, body, None, Some(LONGEST_MESSAGE));
    let read = call.message().now_or_never();
    let read = read.expect("it waits for nothing that has arrived");
    read.map_err(|status| format!("{:?}", status.code()))
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// A message; what a call is whose body is the input itself, is looked at as well.
pub fn message(input: &[u8]) -> Outcome {
    let as_body = framed(input.to_vec());
    if let Ok(Some(found)) = &as_body {
        let Some((&[0, a, b, c, d], rest)) = input.split_first_chunk::<5>() else {
            return Err("a message without the head of a frame".to_owned());
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap();
        let inside = rest.get(..length).filter(|_| length <= LONGEST_MESSAGE);
        let inside = inside.ok_or_else(|| format!("a message of {length} bytes"))?;
        ensure(CheckRequest::decode(inside).as_ref() == Ok(found), || {
            "a frame has another message than its bytes".to_owned()
        })?;
    }
    let as_body = as_body.map(|found| found.is_some());
    let Ok(read) = CheckRequest::decode(input) else {
        return Ok(format!("{as_body:?} none"));
    };
    ensure(read.encoded_len() <= input.len(), || {
        format!("{} bytes of {}", read.encoded_len(), input.len())
    })?;
    let again = read.encode_to_vec();
    ensure(CheckRequest::decode(&*again).as_ref() == Ok(&read), || {
        "a message is written back as another".to_owned()
    })?;
    let whole = framed(frame(input));
    ensure(
        match &whole {
            Ok(found) => found.as_ref() == Some(&read) && input.len() <= LONGEST_MESSAGE,
            Err(_) => input.len() > LONGEST_MESSAGE,
        },
        || format!("{:?} of a frame of {}", whole.as_ref().err(), input.len()),
    )?;
    let told = of_the_request(&read)?;
    Ok(format!("{as_body:?} {told}"))
}

/// A request in lines, as Envoy tells of one: method, path, host, scheme, protocol and client, with spaces
/// between them, and headers; after `!joined` they are told with one line for each name.
pub fn told(input: &[u8]) -> Outcome {
    let mut lines = input.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let mut http = HttpRequest {
        method: word(),
        path: word(),
        host: word(),
        scheme: word(),
        protocol: word(),
        ..HttpRequest::default()
    };
    let client = word();
    let mut joined = false;
    let mut each = Vec::new();
    for line in lines {
        if line == b"!joined" {
            joined = true;
            continue;
        }
        // What begins with a colon has another one behind its name.
        let colon = line.iter().skip(1).position(|byte| *byte == b':');
        let Some(at) = colon.map(|at| at + 1) else {
            continue;
        };
        let name = String::from_utf8_lossy(&line[..at]).into_owned();
        let value = line[at + 1..].trim_ascii();
        if joined {
            let value = String::from_utf8_lossy(value).into_owned();
            http.headers.insert(name, value);
        } else {
            each.push((name, value));
        }
    }
    if !each.is_empty() {
        let lines: Vec<(&str, &[u8])> =
            each.iter().map(|(name, value)| (&**name, *value)).collect();
        http.header_map = Some(raw(&lines));
    }
    let message = about(&client, http);
    let again = CheckRequest::decode(&*message.encode_to_vec());
    ensure(again.as_ref() == Ok(&message), || {
        "a message is read as another".to_owned()
    })?;
    of_the_request(&message)
}

/// What is made of the request that a message tells of.
fn of_the_request(message: &CheckRequest) -> Outcome {
    let attributes = message.attributes.clone().unwrap_or_default();
    let http = attributes
        .request
        .unwrap_or_default()
        .http
        .unwrap_or_default();
    let original = match Said::of(message.clone()).original(LIMITS) {
        Err(reason) => return Ok(reason.code().to_owned()),
        Ok(original) => original,
    };
    let wire = original.wire();
    let target = wire
        .target
        .path_and_query()
        .map(http::uri::PathAndQuery::as_str);
    ensure(target == Some(&*http.path), || {
        format!("{target:?} of {}", http.path)
    })?;
    ensure(wire.method.as_str() == http.method, || http.method.clone())?;
    ensure(
        wire.headers["host"].as_bytes() == http.host.as_bytes(),
        || http.host.clone(),
    )?;
    ensure(!wire.peer.is_unspecified(), || wire.peer.to_string())?;
    let bytes: usize = wire
        .headers
        .iter()
        .filter(|(name, _)| *name != "host")
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    ensure(bytes + http.path.len() <= LIMITS.bytes, || {
        format!("{bytes} bytes of headers")
    })?;
    // The host stands among them, and need not have stood among the lines.
    ensure(wire.headers.len() <= LIMITS.count + 1, || {
        format!("{} lines", wire.headers.len())
    })?;
    let back = Said::of(written_back(&original)).original(WIDER);
    let back = back.map_err(|reason| format!("written back it is {reason:?}"))?;
    let shown = |original: &Original| {
        let wire = original.wire();
        let at = (wire.method.clone(), wire.target.clone(), wire.version);
        (at, wire.headers.clone(), wire.peer, wire.scheme)
    };
    ensure(shown(&back) == shown(&original), || {
        format!("{original:?} is written back as {back:?}")
    })?;
    let facts = match original.facts(&PRODUCTION.edge) {
        Err(reason) => return Ok(format!("read {}", reason.code())),
        Ok(facts) => facts,
    };
    ensure(facts.path.as_str() == wire.target.path(), || {
        format!("{} is judged as {}", wire.target, facts.path)
    })?;
    let inputs = PRODUCTION.inputs(&facts);
    let verdict = invariants::decides(inputs, &Oracle::keys_only())?;
    invariants::only_good_signatures_open(inputs, &verdict, false)?;
    Ok(format!("{:?} {}", wire.version, sign(&verdict)))
}

/// A message that tells of this request, as Envoy writes one.
fn written_back(original: &Original) -> CheckRequest {
    let wire = original.wire();
    let peer = wire.peer.to_string();
    let mut headers = wire.headers.clone();
    headers.remove("host");
    // The gate leaves out the client at the end of the chain, which Envoy has written there.
    let mut chain = headers.get_all("x-forwarded-for").iter();
    if let (Some(Ok(line)), None) = (chain.next().map(|line| line.to_str()), chain.next())
        && let Some(Ok(last)) = line
            .rsplit(',')
            .next()
            .map(|last| last.trim().parse::<IpAddr>())
        && last.to_canonical() == wire.peer
    {
        let line = format!("{line},{peer}");
        headers.insert("x-forwarded-for", line.parse().unwrap());
    }
    let lines: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let protocol = match wire.version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    about(
        &peer,
        HttpRequest {
            method: wire.method.to_string(),
            path: wire.target.to_string(),
            host: String::from_utf8_lossy(wire.headers["host"].as_bytes()).into_owned(),
            scheme: wire.scheme.as_str().to_owned(),
            protocol: protocol.to_owned(),
            header_map: Some(raw(&lines)),
            ..HttpRequest::default()
        },
    )
}
