//! Names as they look to a reader who takes characters for others, or does not see them.

use unicode_normalization::UnicodeNormalization as _;

/// A decoded path as a reader sees it who dissolves compatibility characters, passes over what
/// shows nothing or is no text, and takes no space at either end of a name.
pub(super) fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .nfkc()
        .filter(|c| !is_invisible(*c))
        .collect();
    let names: Vec<&str> = text.split('/').map(|name| name.trim_matches(' ')).collect();
    names.join("/")
}

/// File names as Windows takes them: without dots and spaces at the end, and without streams.
pub(super) fn bare_names(path: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(path.len());
    for (at, name) in path.split(|byte| *byte == b'/').enumerate() {
        if at > 0 {
            bare.push(b'/');
        }
        bare.extend_from_slice(match name {
            b"." | b".." => name,
            name => bare_name(name),
        });
    }
    bare
}

/// One such name.
pub(super) fn bare_name(name: &[u8]) -> &[u8] {
    // `::$DATA`, `:$I30:$INDEX_ALLOCATION`.
    let stream = name.windows(2).position(|two| matches!(two, b"::" | b":$"));
    let name = name.get(..stream.unwrap_or(name.len())).unwrap_or(name);
    let end = name.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    name.get(..end.map_or(0, |at| at + 1)).unwrap_or_default()
}

/// Control characters, Unicode's default-ignorable ones, and the sign for broken UTF-8.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{fffd}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
