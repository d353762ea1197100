//! The reference, the dashboard and the guide: they have what the page has, no more and no less.

use clerk_gate::clerk::budget::Purpose;
use clerk_gate::clerk::calls::CallOutcome;
use clerk_gate::core::explain::Outcome as Verdict;
use clerk_gate::telemetry::access::Action;
use clerk_gate::telemetry::requests::Mode;
use serde_json::Value;

use super::*;
use crate::docs::{names, part, read, rows};
use crate::tls::{self, Authority};

#[tokio::test]
async fn every_metric_is_in_its_reference_with_its_type_and_labels() {
    let reference = read("docs/reference/metrics.md");
    let documented: BTreeSet<Vec<String>> = rows(part(&reference, "Overview"))
        .into_iter()
        .map(|row| row.into_iter().map(|cell| cell.replace('`', "")).collect())
        .collect();
    let world = busy().await;
    let page = Page::of(&world).await;
    let mut labels = page.labels();
    let certificates = vec![Authority::new().certifies(&["localhost"])];
    let over_tls = tls::behind(tls::terms(certificates)).start().await;
    labels.extend(Page::of(&over_tls).await.labels());
    let exported: BTreeSet<Vec<String>> = page
        .described
        .iter()
        .map(|(name, (kind, help))| {
            let of_it = labels.get(name);
            let of_it = of_it.unwrap_or_else(|| panic!("`{name}` has no sample"));
            let of_it = if of_it.is_empty() {
                "none".to_owned()
            } else {
                listed(of_it)
            };
            vec![name.clone(), kind.clone(), of_it, help.clone()]
        })
        .collect();
    let in_no_order = |row: &Vec<String>| {
        let mut row = row.clone();
        row[2] = listed(row[2].split(", "));
        row
    };
    assert_eq!(
        documented.iter().map(in_no_order).collect::<BTreeSet<_>>(),
        exported
    );
    assert_eq!(exported.len(), 35);
}

/// Words in order, with commas between them.
fn listed<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words = words.into_iter().map(|word| word.as_ref().to_owned());
    let words: BTreeSet<String> = words.collect();
    Vec::from_iter(words).join(", ")
}

#[tokio::test]
async fn every_value_of_a_label_that_the_source_names_is_in_the_reference() {
    let reference = read("docs/reference/metrics.md");
    let documented: BTreeMap<(String, String), Vec<String>> = rows(part(&reference, "Labels"))
        .into_iter()
        .map(|row| {
            let values = row[2].trim_end_matches(" |").split(", ");
            let values = values.map(|value| value.trim_matches('`').to_owned());
            ((row[1].clone(), row[0].clone()), values.collect())
        })
        .collect();
    let of = |metric: &str, label: &str| {
        let key = (format!("clerk_gate_{metric}"), label.to_owned());
        documented[&key].clone()
    };
    assert_eq!(
        of("decisions_total", "decision"),
        Action::ALL.map(Action::name)
    );
    assert_eq!(of("requests_total", "mode"), Mode::ALL.map(Mode::name));
    assert_eq!(
        of("clerk_calls_total", "purpose"),
        Purpose::ALL.map(Purpose::name)
    );
    let outcomes = CallOutcome::ALL.map(CallOutcome::name);
    assert_eq!(of("clerk_calls_total", "outcome"), outcomes);
    // Those of the others are all there from the start.
    let world = busy().await;
    let page = Page::of(&world).await;
    for (metric, label) in [
        ("cache_lookups_total", "cache"),
        ("cache_lookups_total", "outcome"),
        ("limit_charges_total", "outcome"),
        ("spans_total", "outcome"),
        ("upstream_checks_total", "outcome"),
        ("connections", "listener"),
        ("protocol_connections", "protocol"),
        ("protocol_connections", "tls"),
    ] {
        let exported = page.values(&format!("clerk_gate_{metric}"), label);
        assert_eq!(names(of(metric, label)), exported, "{metric} {label}");
    }
    let outcomes = clerk_gate::upstream::standing::Outcome::NAMES;
    assert_eq!(of("upstream_requests_total", "outcome"), outcomes);
    let mut outcomes = Verdict::ALL.map(Verdict::as_str).to_vec();
    assert_eq!(of("shadow_verdicts_total", "outcome"), outcomes);
    outcomes.push("unknown");
    assert_eq!(of("shadow_verdicts_total", "shadow"), outcomes);
    assert_eq!(documented.len(), 15);
}

/// The names of metrics in an expression of `PromQL`.
fn metrics_in(expression: &str) -> Vec<String> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !is_of_a_name(c));
    let metrics = words.filter(|word| word.starts_with("clerk_gate"));
    metrics.map(str::to_owned).collect()
}

/// Every text under this key, however deep.
fn texts_under<'v>(key: &str, value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(values) => {
            for value in values {
                texts_under(key, value, found);
            }
        }
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            for value in fields.values() {
                texts_under(key, value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn dashboard_and_alarms_ask_for_metrics_and_labels_of_the_reference() {
    let reference = read("docs/reference/metrics.md");
    let mut known = BTreeSet::new();
    let mut labels = names(["job", "instance", "le"]);
    for row in rows(part(&reference, "Overview")) {
        labels.extend(
            row[2]
                .split(", ")
                .map(|label| label.trim_matches('`').to_owned()),
        );
        match row[1].as_str() {
            "histogram" => known.insert(format!("{}_bucket", row[0])),
            _ => known.insert(row[0].clone()),
        };
    }
    let dashboard: Value = serde_json::from_str(&read("examples/grafana/clerk-gate.json")).unwrap();
    let mut expressions = Vec::new();
    texts_under("expr", &dashboard, &mut expressions);
    assert!(expressions.len() > 20, "{} expressions", expressions.len());
    let asked = expressions
        .iter()
        .flat_map(|expression| metrics_in(expression));
    // Every metric is on the dashboard.
    assert_eq!(names(asked), known);
    texts_under("query", &dashboard, &mut expressions);
    let guide = read("docs/how-to/scrape-metrics.md");
    let alarms = guide
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    expressions.extend(alarms);
    for expression in expressions {
        for metric in metrics_in(expression) {
            assert!(known.contains(&metric), "`{metric}` in `{expression}`");
        }
        let selected = expression.split(['{', ',']).filter_map(|part| {
            let (label, rest) = part.split_once('=')?;
            rest.trim_start_matches('~')
                .starts_with('"')
                .then_some(label)
        });
        let grouped = expression.split("by (").skip(1);
        let grouped = grouped.flat_map(|rest| rest.split(')').next().unwrap().split(", "));
        for label in selected.chain(grouped) {
            assert!(labels.contains(label), "`{label}` in `{expression}`");
        }
    }
    let mut legends = Vec::new();
    texts_under("legendFormat", &dashboard, &mut legends);
    for legend in legends {
        for label in legend.split("{{").skip(1) {
            let label = label.split("}}").next().unwrap();
            assert!(labels.contains(label), "`{label}` in `{legend}`");
        }
    }
}
