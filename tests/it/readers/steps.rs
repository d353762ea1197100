//! What servers do to a path, step by step.

/// Decodes each `%XX` once and leaves what is none.
pub(super) fn decode(path: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(path).collect()
}

/// Decodes `%u0061` as well.
pub(super) fn decode_unicode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let [first, others @ ..] = rest {
        let digits = |from: usize, to: usize| {
            let digits = std::str::from_utf8(rest.get(from..to)?).ok()?;
            let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| hex)
        };
        let (bytes, length) = match rest {
            [b'%', b'u' | b'U', ..] if let Some(c) = digits(2, 6).and_then(char::from_u32) => {
                (c.to_string().into_bytes(), 6)
            }
            [b'%', ..] if let Some(byte) = digits(1, 3) => (vec![byte.to_le_bytes()[0]], 3),
            _ => (vec![*first], 1),
        };
        decoded.extend(bytes);
        rest = rest.get(length..).unwrap_or(others);
    }
    decoded
}

/// Takes `;…` from each segment.
pub(super) fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .map(|segment| until(segment, b";"))
        .collect();
    segments.join(&b'/')
}

/// What stands before the first of these bytes.
pub(super) fn until<'p>(path: &'p [u8], ends: &[u8]) -> &'p [u8] {
    let end = path.iter().position(|byte| ends.contains(byte));
    &path[..end.unwrap_or(path.len())]
}

/// `\` as `/`.
pub(super) fn slashes(path: &[u8]) -> Vec<u8> {
    path.iter()
        .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
        .collect()
}

/// `//` as `/`.
pub(super) fn merge(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|a, b| *a == b'/' && *b == b'/');
    merged
}

/// Removes dot segments; an empty segment is one that `..` takes away (RFC 3986, section 5.2.4).
pub(super) fn resolve(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    let mut resolved = Vec::new();
    for segment in kept {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    resolved
}

/// Merges, then resolves, and leaves no slash at the end: `path.Clean` of Go.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean = resolve(&merge(&[b"/", path].concat()));
    if clean.last() == Some(&b'/') {
        clean.pop();
    }
    clean
}

pub(super) fn lower(path: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(path).to_lowercase().into_bytes()
}

/// Edits each segment.
pub(super) fn each_segment<'p>(path: &'p [u8], edit: impl Fn(&'p [u8]) -> &'p [u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').map(edit).collect();
    segments.join(&b'/')
}

/// Edits the last segment.
pub(super) fn last_segment(path: &[u8], edit: impl Fn(&[u8]) -> &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (before, last) = path.split_at(at);
    [before, edit(last)].concat()
}

/// Bytes from the end while they are among these.
pub(super) fn trim_end<'p>(text: &'p [u8], bytes: &[u8]) -> &'p [u8] {
    let kept = text.iter().rposition(|byte| !bytes.contains(byte));
    &text[..kept.map_or(0, |at| at + 1)]
}

/// Reads UTF-8 without asking for the shortest form, or for well-formed bytes behind the first.
pub(super) fn lenient_utf8(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(lead) = path.get(at).copied() {
        let (length, mask) = match lead {
            0xc0..=0xdf => (2, 0x1f),
            0xe0..=0xef => (3, 0x0f),
            0xf0..=0xf7 => (4, 0x07),
            0xf8..=0xfb => (5, 0x03),
            0xfc..=0xfd => (6, 0x01),
            _ => (1, 0xff),
        };
        let Some(rest) = path.get(at + 1..at + length) else {
            text.extend_from_slice(&path[at..]);
            break;
        };
        // Long forms only with real continuation bytes, as decoders that checked anything did.
        let whole = length == 2 || rest.iter().all(|byte| byte & 0xc0 == 0x80);
        let value = rest.iter().fold(u32::from(lead & mask), |value, byte| {
            value << 6 | u32::from(byte & 0x3f)
        });
        match u8::try_from(value) {
            Ok(ascii) if whole && ascii.is_ascii() => {
                text.push(ascii);
                at += length;
            }
            _ => {
                text.push(lead);
                at += 1;
            }
        }
    }
    text
}
