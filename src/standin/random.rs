//! Ids and secrets: letters and digits from the system's random source.

use aws_lc_rs::rand;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An id in Clerk's form, such as `sess_2…`: the prefix, a `2`, and 26 random letters and digits.
pub(super) fn id(prefix: &str) -> String {
    format!("{prefix}_2{}", text(26))
}

/// Random letters and digits, each equally likely.
pub(super) fn text(length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0_u8; 64];
        #[expect(
            clippy::expect_used,
            reason = "without a random source there is nothing safe left to do"
        )]
        rand::fill(&mut bytes).expect("the system has a random source");
        let fair = bytes
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(*byte & 63)));
        text.extend(fair.take(length - text.len()).map(|byte| char::from(*byte)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_asked_length_and_differ() {
        assert_eq!(text(100).len(), 100);
        assert_eq!(id("sess").len(), "sess_2".len() + 26);
        assert_ne!(id("sess"), id("sess"));
    }
}
