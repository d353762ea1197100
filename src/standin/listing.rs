//! Lists as Clerk's APIs give them: a part, bare or with the count of all.

use serde_json::{Value, json};

use super::call::Call;

/// How a list is given.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Bare,
    Counted,
}

impl Form {
    /// As the parameter `paginated` asks.
    pub(super) fn asked(call: &Call) -> Self {
        match call.param("paginated") {
            Some("true") => Self::Counted,
            _ => Self::Bare,
        }
    }
}

/// The part of a list that `limit` and `offset` ask for.
pub(super) fn part(call: &Call, all: Value, form: Form) -> Value {
    let number = |name| call.param(name).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(10).clamp(1, 500);
    let all = match all {
        Value::Array(all) => all,
        one => vec![one],
    };
    let total = all.len();
    let part = all.into_iter().skip(number("offset").unwrap_or(0));
    let part: Vec<Value> = part.take(limit).collect();
    match form {
        Form::Bare => Value::Array(part),
        Form::Counted => json!({ "data": part, "total_count": total }),
    }
}
