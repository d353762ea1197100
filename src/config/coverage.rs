//! Whether one path pattern takes everything that another one takes.
//!
//! Answers only where it is sure: alternatives in braces are compared as they are written.

use crate::core::pattern::PathPattern;

/// Whether every path of `inner` is one of `outer`. `false` where that is not certain.
pub(super) fn covers(outer: &PathPattern, inner: &PathPattern) -> bool {
    let outer: Vec<&str> = segments(outer);
    let inner: Vec<&str> = segments(inner);
    sequence(&outer, &inner)
}

/// Whether the two share a path, as far as their literal beginnings tell: `/docs/**` and `/docs/x`.
pub(super) fn may_meet(one: &PathPattern, other: &PathPattern) -> bool {
    let (a, b) = (one.literal_prefix(), other.literal_prefix());
    a.starts_with(b.trim_end_matches('/')) || b.starts_with(a.trim_end_matches('/'))
}

fn segments(pattern: &PathPattern) -> Vec<&str> {
    pattern
        .canonical()
        .strip_prefix('/')
        .unwrap_or_default()
        .split('/')
        .collect()
}

fn sequence(outer: &[&str], inner: &[&str]) -> bool {
    match (outer.split_first(), inner.split_first()) {
        // `X/**` takes `X` itself as well.
        (Some((&"**", [])), _) | (None, None) => true,
        (Some((&"**", rest)), _) => {
            sequence(rest, inner)
                || inner
                    .split_first()
                    .is_some_and(|(_, others)| sequence(outer, others))
        }
        (Some(_), Some((&"**", _)) | None) | (None, Some(_)) => false,
        (Some((first, rest)), Some((other, others))) => {
            segment(first, other) && sequence(rest, others)
        }
    }
}

fn segment(outer: &str, inner: &str) -> bool {
    if outer == inner || outer == "*" {
        return true;
    }
    // `a*` takes `ab`, and `a*c` takes `abc`: one star, and a segment without any.
    let mut parts = outer.split('*');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(head), Some(tail), None) if !outer.contains(['{', '}']) => {
            !inner.contains(['*', '{', '}'])
                && inner.len() >= head.len() + tail.len()
                && inner.starts_with(head)
                && inner.ends_with(tail)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_certain_or_denied() {
        for (outer, inner, expected) in [
            ("/**", "/admin/**", true),
            ("/**", "/", true),
            ("/admin/**", "/admin", true),
            ("/admin/**", "/admin/x/*", true),
            ("/admin/*", "/admin/x", true),
            ("/admin/*", "/admin/**", false),
            ("/admin/*", "/admin", false),
            ("/a*", "/admin", true),
            ("/a*", "/admin/x", false),
            ("/*/x", "/admin/x", true),
            ("/**/x", "/a/b/x", true),
            ("/**/x", "/a/b/y", false),
            ("/*.css", "/a.css", true),
            ("/*.css", "/*", false),
            ("/admin", "/Admin", false),
            ("/{a,b}", "/a", false),
        ] {
            let parse = |text| PathPattern::parse(text).unwrap();
            assert_eq!(
                covers(&parse(outer), &parse(inner)),
                expected,
                "{outer} over {inner}"
            );
        }
    }
}
