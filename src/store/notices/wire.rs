//! Notices as entries of a stream: pairs of names and values.

use redis::Value;

use super::{Notice, Out, Whose};

/// The longest id that a notice is about, in bytes.
const MAX_ID_BYTES: usize = 256;

/// The names and values of an entry, without who made it.
pub(super) fn fields(notice: &Notice) -> Vec<(&'static str, String)> {
    match notice {
        Notice::Out(out) => {
            let (kind, id) = match &out.whose {
                Whose::Session(id) => ("session", id),
                Whose::User(id) => ("user", id),
                Whose::Organization(id) => ("organization", id),
            };
            vec![
                ("kind", kind.to_owned()),
                ("of", id.as_ref().to_owned()),
                ("revoked-to", out.revoked_to.to_string()),
                ("outdated-before", out.outdated_before.to_string()),
                ("forget-at", out.forget_at_ms.to_string()),
            ]
        }
        Notice::Keys { instance, digest } => vec![
            ("kind", "keys".to_owned()),
            ("of", instance.clone()),
            ("digest", digest.clone()),
        ],
    }
}

/// An entry: who made it, and what it says. `None` if that is not understood.
pub(super) fn entry(fields: &Value) -> Option<(&str, Notice)> {
    let Value::Array(fields) = fields else {
        return None;
    };
    let value = |name: &str| {
        let (pairs, _) = fields.as_chunks::<2>();
        let [_, value] = pairs
            .iter()
            .find(|[key, _]| text(key).is_some_and(|key| key == name))?;
        text(value)
    };
    let number = |name| value(name)?.parse::<u64>().ok();
    let id = value("of").filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES)?;
    let whose = match value("kind")? {
        "session" => Whose::Session(id.into()),
        "user" => Whose::User(id.into()),
        "organization" => Whose::Organization(id.into()),
        "keys" => {
            let digest = value("digest").filter(|digest| digest.len() <= MAX_ID_BYTES)?;
            let keys = Notice::Keys {
                instance: id.to_owned(),
                digest: digest.to_owned(),
            };
            return Some((value("by")?, keys));
        }
        _ => return None,
    };
    let out = Out {
        whose,
        revoked_to: number("revoked-to")?,
        outdated_before: number("outdated-before")?,
        forget_at_ms: number("forget-at")?,
    };
    Some((value("by")?, Notice::Out(out)))
}

/// The entries of the one stream that was asked about, with their ids.
pub(super) fn entries(answer: &Value) -> Option<Vec<(&str, &Value)>> {
    let entries = match answer {
        Value::Nil => return Some(Vec::new()),
        Value::Array(streams) => match streams.as_slice() {
            [] => return Some(Vec::new()),
            [Value::Array(stream), ..] => stream.get(1)?,
            _ => return None,
        },
        Value::Map(streams) => &streams.first()?.1,
        _ => return None,
    };
    let Value::Array(entries) = entries else {
        return None;
    };
    let entries = entries.iter().map(|entry| match entry {
        Value::Array(entry) => Some((text(entry.first()?)?, entry.get(1)?)),
        _ => None,
    });
    entries.collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Value {
        let bytes = |text: &&str| Value::BulkString(text.as_bytes().to_vec());
        let pair = |(name, value): &(&str, &str)| [bytes(name), bytes(value)];
        Value::Array(fields.iter().flat_map(pair).collect())
    }

    fn written(notice: &Notice) -> Vec<(&'static str, String)> {
        let mut all = fields(notice);
        all.push(("by", "me".to_owned()));
        all
    }

    fn notices() -> Vec<Notice> {
        let out = |whose| {
            Notice::Out(Out {
                whose,
                revoked_to: u64::MAX,
                outdated_before: 7,
                forget_at_ms: 1_790_000_000_000,
            })
        };
        vec![
            out(Whose::Session("sess_1".into())),
            out(Whose::User("user_1".into())),
            out(Whose::Organization("org_1".into())),
            Notice::Keys {
                instance: "pk_live_x".to_owned(),
                digest: "abc".to_owned(),
            },
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        for notice in notices() {
            let written = written(&notice);
            let written: Vec<_> = written.iter().map(|(n, v)| (*n, v.as_str())).collect();
            assert_eq!(entry(&pairs(&written)), Some(("me", notice)));
        }
    }

    #[test]
    fn an_entry_that_lacks_something_or_has_something_else_is_none() {
        for notice in notices() {
            let written = written(&notice);
            for at in 0..written.len() {
                let mut lacking: Vec<_> = written.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let (name, _) = lacking.remove(at);
                assert_eq!(entry(&pairs(&lacking)), None, "without `{name}`");
                if !matches!(name, "by" | "of" | "digest") {
                    lacking.push((name, "-1"));
                    assert_eq!(entry(&pairs(&lacking)), None, "`{name}` of -1");
                }
            }
        }
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let mut written = written(&notices()[0]);
        written[1].1 = long;
        let written: Vec<_> = written.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(entry(&pairs(&written)), None);
        for odd in [Value::Nil, Value::Int(1), Value::Array(vec![Value::Nil])] {
            assert_eq!(entry(&odd), None, "{odd:?}");
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_none() {
        assert_eq!(entries(&Value::Nil), Some(Vec::new()));
        let entry = || {
            let id = Value::BulkString(b"1-0".to_vec());
            Value::Array(vec![id, Value::Array(Vec::new())])
        };
        let name = || Value::BulkString(STREAM.as_bytes().to_vec());
        let listed = |entries| Value::Array(vec![Value::Array(vec![name(), entries])]);
        let good = listed(Value::Array(vec![entry(), entry()]));
        assert_eq!(entries(&good).unwrap().len(), 2);
        let mapped = Value::Map(vec![(name(), Value::Array(vec![entry()]))]);
        assert_eq!(entries(&mapped).unwrap().len(), 1);
        for odd in [
            Value::Int(1),
            Value::Array(vec![Value::Nil]),
            listed(Value::Nil),
            listed(Value::Array(vec![Value::Nil])),
        ] {
            assert_eq!(entries(&odd), None, "{odd:?}");
        }
    }

    use super::super::STREAM;
}
