//! `[traces]`: where spans go, and of which share of requests.

use http::HeaderName;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::clerk::ReadFile;
use super::keys::value_or_file;
use super::model::TracesConfig;
use super::report::{Place, Problem};
use super::section::{Placed, Section, wrong_kind};
use super::shape::Shape;
use super::tree::Value;
use crate::core::origin::Host;
use crate::telemetry::traces::{Destination, Share};

/// The variable of OpenTelemetry that names a collector, and not the address for traces.
pub(super) const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What a collector takes traces at.
const TRACES: &str = "v1/traces";

/// The share where nothing is said.
const USUAL_SHARE: f64 = 0.1;

/// Reads the table. `None` if nothing is written down.
pub(super) fn read(mut section: Section<'_>, files: ReadFile<'_>) -> Option<TracesConfig> {
    let (problems, place) = (section.problems(), section.place().clone());
    let has_endpoint = section.has("endpoint");
    let of_a_collector =
        |place: &Place| matches!(place, Place::Variable(name) if &**name == COLLECTOR);
    let endpoint = section.text("endpoint").and_then(|text| {
        let read = if of_a_collector(&text.place) {
            address(&format!("{}/{TRACES}", text.value.trim_end_matches('/')))
        } else {
            address(&text.value)
        };
        match read {
            Ok(url) => Some(Placed::new(url, text.place)),
            Err(why) => {
                problems.add(Problem::error(
                    &text.place,
                    format!("`endpoint` cannot be used: {why}"),
                ));
                None
            }
        }
    });
    let share = share(&mut section);
    let service = section.parsed("service-name", |text| {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(text.to_owned())
    });
    let written = value_or_file(&mut section, "headers", "headers-file", files);
    let headers = written.as_ref().map(|text| {
        let read = headers(&text.value);
        // SECURITY: nothing of what is written is told: there is a key in it.
        if read.is_none() {
            problems.add(
                Problem::error(&text.place, "`headers` are no headers").hint(
                    "write `name=value`, each on a line of its own or with commas between them",
                ),
            );
        }
        read.unwrap_or_default()
    });
    section.finish();
    // What is set for other programs on this machine is no order to this one.
    let meant = match &place {
        Place::Nowhere => false,
        Place::Variable(name) => !name.starts_with("OTEL_"),
        _ => true,
    };
    if !has_endpoint && meant {
        problems.add(
            Problem::error(
                &place,
                "`[traces]` has no `endpoint`: there is nobody to send to",
            )
            .hint("add `endpoint = \"http://127.0.0.1:4318/v1/traces\"`"),
        );
    }
    let endpoint = endpoint?;
    let plain = endpoint.value.scheme() == "http" && !is_here(&endpoint.value);
    if let Some(text) = written.filter(|_| plain) {
        problems.add(
            Problem::warning(
                &text.place,
                "`headers` travel where everybody can read them",
            )
            .hint("write the `https` address of whoever takes traces"),
        );
    }
    Some(TracesConfig {
        destination: Destination {
            endpoint: endpoint.value,
            headers: headers.unwrap_or_default(),
            service: service.map_or_else(|| "clerk-gate".to_owned(), |read| read.value),
        },
        share: share.or_else(|| Share::of(USUAL_SHARE))?,
    })
}

fn address(text: &str) -> Result<Url, String> {
    let wanted = || "it is an address such as `http://127.0.0.1:4318/v1/traces`".to_owned();
    let url = Url::parse(text).map_err(|_| wanted())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.fragment().is_some() {
        return Err(wanted());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password belongs into `headers-file`".to_owned());
    }
    Ok(url)
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().and_then(Host::parse);
    host.is_some_and(|host| host.is_loopback())
}

/// Reads `sample`.
fn share(section: &mut Section<'_>) -> Option<Share> {
    let problems = section.problems();
    let node = section.node("sample", Shape::Share)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "of whole numbers, 0 and 1 alone are a share"
    )]
    let number = match (&node.value, &node.place) {
        (Value::Float(number), _) => Some(*number),
        (Value::Integer(number), _) => Some(*number as f64),
        (Value::Text(text), Place::Variable(_) | Place::Flag(_)) => text.parse().ok(),
        _ => None,
    };
    let Some(number) = number else {
        wrong_kind("sample", &node, "a number from 0 to 1", problems);
        return None;
    };
    let share = Share::of(number);
    if share.is_none() {
        problems.add(Problem::error(&node.place, "`sample` is from 0 to 1"));
    }
    share
}

/// Headers as OpenTelemetry writes them in `OTEL_EXPORTER_OTLP_HEADERS`, percent signs and all; or each on
/// a line.
fn headers(text: &str) -> Option<Vec<(HeaderName, SecretString)>> {
    let pairs = text.split([',', '\n']).map(str::trim);
    let pairs = pairs.filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let name = HeaderName::try_from(name.trim()).ok()?;
            let ours = [
                HOST,
                CONNECTION,
                CONTENT_LENGTH,
                CONTENT_TYPE,
                TRANSFER_ENCODING,
            ];
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            (visible && !ours.contains(&name)).then(|| (name, value.into_owned().into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn headers_are_written_as_open_telemetry_writes_them() {
        let read = |text: &str| {
            let pairs = headers(text)?.into_iter();
            let pairs = pairs.map(|(name, value)| format!("{name}: {}", value.expose_secret()));
            Some(pairs.collect::<Vec<_>>())
        };
        for (text, expected) in [
            ("api-key=a", &["api-key: a"][..]),
            ("A=b=c , d=e%20f%2Cg", &["a: b=c", "d: e f,g"]),
            ("a=1\nb=2\n", &["a: 1", "b: 2"]),
            (",a=,", &["a: "]),
            ("", &[]),
        ] {
            assert_eq!(
                read(text).as_deref(),
                Some(&expected.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
        for text in [
            "a",
            "=b",
            "a b=c",
            "a=%0d%0ab: c",
            "a=é",
            "host=x",
            "content-type=x",
            "a=1,b",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
