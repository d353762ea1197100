//! Spans of time and sizes, as they are written.

use std::time::Duration;

/// What a span of time looks like.
pub(super) const SPAN: &str = r"^\s*(0|(\d+(\.\d+)?\s*[a-zA-Zµμ]+\s*)+)$";

/// What a size looks like.
pub(super) const SIZE: &str = r"^\d+\s*([kMG]?B|[KMG]iB)$";

/// A span in the largest unit that leaves no rest.
pub(super) fn span_text(span: Duration) -> String {
    let ms = span.as_millis();
    for (unit, name) in [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ] {
        if ms >= unit && ms.is_multiple_of(unit) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

/// Reads `64KiB`, `10MiB`, `1GiB`, `512B`; also `kB`, `MB` and `GB` as powers of ten.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("64KiB", Some(65_536)),
            ("10 MB", Some(10_000_000)),
            ("1GiB", Some(1 << 30)),
            ("5B", Some(5)),
            ("5", None),
            ("KiB", None),
            ("-1B", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
