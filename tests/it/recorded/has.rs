//! `has()`: what a person may do.

use clerk_gate::core::authorization::{Asked, Level, Reverification};
use clerk_gate::core::jwt::Token;
use serde_json::Value;

use crate::support::rows;

#[test]
fn every_recorded_row_of_has_is_equal() {
    let table = rows::table("has");
    let cases = table["cases"].as_array().unwrap();
    let mut differing = Vec::new();
    for row in cases {
        let claims = &table["claims"][row["claims"].as_str().unwrap()];
        let token = Token::decode(claims["jwt"].as_str().unwrap()).unwrap();
        let pending_allowed = row["pendingAllowed"].as_bool() == Some(true);
        let granted = token
            .identity()
            .filter(|who| pending_allowed || !who.is_pending())
            .is_some_and(|who| asked(&row["params"]).is_some_and(|asked| asked.is_granted_to(who)));
        if Some(granted) != row["has"].as_bool() {
            differing.push(format!("{}: {} -> {granted}", row["id"], row["has"]));
        }
    }
    assert_eq!(cases.len(), 1062);
    assert!(
        differing.is_empty(),
        "{}\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// The question of a row; `None` where a value is of a kind that a policy cannot hold.
pub fn asked(params: &Value) -> Option<Asked> {
    let mut asked = Asked::default();
    for (name, value) in params.as_object()? {
        // To the SDK, `null` means that nothing is asked.
        if value.is_null() {
            continue;
        }
        let text = || value.as_str().map(str::to_owned);
        match name.as_str() {
            "role" => asked.role = Some(text()?),
            "permission" => asked.permission = Some(text()?),
            "feature" => asked.feature = Some(text()?),
            "plan" => asked.plan = Some(text()?),
            "reverification" => asked.reverification = Some(reverification(value)?),
            // A parameter that the SDK does not know asks nothing.
            _ => {}
        }
    }
    Some(asked)
}

fn reverification(value: &Value) -> Option<Reverification> {
    if let Some(preset) = value.as_str() {
        return Reverification::preset(preset);
    }
    let level = match value["level"].as_str()? {
        "first_factor" => Level::FirstFactor,
        "second_factor" => Level::SecondFactor,
        "multi_factor" => Level::MultiFactor,
        _ => return None,
    };
    let after_minutes = value["afterMinutes"]
        .as_f64()
        .filter(|minutes| *minutes > 0.0)?;
    Some(Reverification {
        level,
        after_minutes,
    })
}
