//! The servers. What each does is said with where that is written down.

use unicode_normalization::UnicodeNormalization as _;

use super::steps::{
    clean, decode, decode_unicode, each_segment, last_segment, lenient_utf8, lower, merge, resolve,
    slashes, trim_end, until, without_parameters,
};
use super::{Place, Reader};

pub(super) const ALL: &[Reader] = &[
    last("Express", express),
    last("compared in upper case", upper_case),
    front("Express static files", express_static),
    front("WHATWG URL", whatwg_url),
    front("Tomcat", tomcat),
    front("Tomcat behind mod_jk", tomcat_behind_mod_jk),
    last("Spring 4", spring_4),
    front("IIS", iis),
    front("IIS 5", iis_5),
    last("PHP", php),
    last("Rails", rails),
    front("Rack files", rack_files),
    front("Werkzeug", werkzeug),
    last("Django static files", django_static),
    front("nginx", nginx),
    front("nginx on Windows", nginx_on_windows),
    front("nginx passing $uri", nginx_passing_uri),
    front("Apache", apache),
    front("Apache 2.4.50", apache_2_4_50),
    last("Apache MultiViews", apache_multi_views),
    front("Go", go),
    front("decoded thrice", decoded_thrice),
    front("NFKC", nfkc),
    front("overlong UTF-8", overlong),
    front("control bytes dropped", controls_dropped),
    front("cut at NUL", cut_at_nul),
    front("HFS+", hfs_plus),
];

/// Passes on what it read.
const fn front(name: &'static str, read: Read) -> Reader {
    Reader {
        name,
        read,
        place: Place::Front,
    }
}

/// Routes by what it read.
const fn last(name: &'static str, read: Read) -> Reader {
    Reader {
        name,
        read,
        place: Place::Last,
    }
}

type Read = fn(&[u8]) -> Vec<Vec<u8>>;

/// Routes match the raw path without regard to case or a slash at the end (Express, `Router`
/// options `caseSensitive` and `strict`, both off).
fn express(path: &[u8]) -> Vec<Vec<u8>> {
    let path = lower(until(path, b"?#"));
    vec![trim_end(&path, b"/").to_vec()]
}

/// Names compared after `toUpperCase` (JavaScript, SQL): `ı` and `ſ` are `I` and `S` then.
fn upper_case(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(until(path, b"?#"));
    let text = String::from_utf8_lossy(&decoded).to_uppercase();
    vec![lower(text.as_bytes())]
}

/// `express.static` decodes once (`decodeURIComponent`) and resolves (`path.normalize`; `send`).
fn express_static(path: &[u8]) -> Vec<Vec<u8>> {
    vec![clean(&decode(until(path, b"?#")))]
}

/// `new URL(request.url, base).pathname`: tabs and line ends dropped, `\` is `/`, `%2e` is a dot
/// (WHATWG URL, "path state"), and applications decode what comes out.
fn whatwg_url(path: &[u8]) -> Vec<Vec<u8>> {
    let text = format!("http://localhost{}", String::from_utf8_lossy(path));
    url::Url::parse(&text).map_or_else(
        |_| Vec::new(),
        |url| {
            vec![
                url.path().as_bytes().to_vec(),
                decode(url.path().as_bytes()),
            ]
        },
    )
}

/// `CoyoteAdapter`: path parameters off, decode once, then normalise with `\` as `/`
/// (`ALLOW_BACKSLASH`) or without, and with `%2F` decoded (`encodedSolidusHandling="decode"`).
fn tomcat(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(&without_parameters(until(path, b"?")));
    vec![
        resolve(&merge(&decoded)),
        resolve(&merge(&slashes(&decoded))),
    ]
}

/// `mod_jk` before 1.2.23 decoded before it passed on (CVE-2007-1860): Tomcat decodes again.
fn tomcat_behind_mod_jk(path: &[u8]) -> Vec<Vec<u8>> {
    tomcat(&decode(path))
}

/// `UrlPathHelper` removes `;…`, decodes and merges slashes; `AntPathMatcher` trims each segment
/// (`trimTokens`, on until 4.3); `useSuffixPatternMatch` and `useTrailingSlashMatch` were on.
fn spring_4(path: &[u8]) -> Vec<Vec<u8>> {
    let path = merge(&decode(&without_parameters(until(path, b"?"))));
    let trimmed = each_segment(&path, <[u8]>::trim_ascii);
    let trimmed = trim_end(&trimmed, b"/");
    let without_format = last_segment(trimmed, |last| {
        match last.iter().rposition(|b| *b == b'.') {
            Some(at) if at > 1 => &last[..at],
            _ => last,
        }
    });
    vec![trimmed.to_vec(), without_format, path]
}

/// `http.sys` decodes once, takes `\` for `/` and resolves; file names lose dots and spaces at the
/// end, streams (`::$DATA`, CVE-1999-0278; `:$I30:$INDEX_ALLOCATION`, CVE-2010-2731) and case.
fn iis(path: &[u8]) -> Vec<Vec<u8>> {
    let path = slashes(&decode(until(path, b"?")));
    windows(&path)
}

fn windows(path: &[u8]) -> Vec<Vec<u8>> {
    let names = |path: &[u8]| {
        let path = each_segment(path, |segment| match segment {
            b"." | b".." => segment,
            name => {
                let stream = name.windows(2).position(|two| two == b":$" || two == b"::");
                trim_end(&name[..stream.unwrap_or(name.len())], b". ")
            }
        });
        lower(&merge(&path))
    };
    vec![names(&resolve(&merge(path))), resolve(&names(path))]
}

/// Decoded twice (MS01-026), `%u0061` with the rest, and without a look at the second byte of a character (MS00-078).
fn iis_5(path: &[u8]) -> Vec<Vec<u8>> {
    let once = slashes(&lenient_utf8(&decode_unicode(until(path, b"?"))));
    let twice = slashes(&lenient_utf8(&decode_unicode(&once)));
    [windows(&once), windows(&twice)].concat()
}

/// The path behind a script is its `PATH_INFO` (Apache `AcceptPathInfo`, nginx
/// `fastcgi_split_path_info`); frameworks route by it, with the folder of the script in front
/// where they are mounted there (Symfony, `Request::getPathInfo`).
fn php(path: &[u8]) -> Vec<Vec<u8>> {
    let path = merge(&decode(until(path, b"?")));
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    let mut found = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let name = lower(segment);
        if [".php", ".php5", ".phtml", ".cgi", ".fcgi", ".pl", ".py"]
            .iter()
            .any(|suffix| name.ends_with(suffix.as_bytes()))
        {
            let behind = segments[at + 1..].join(&b'/');
            let before = segments[..at].join(&b'/');
            let mounted = [&before[..], &b"/"[..], &behind[..]].concat();
            found.push([b"/", &behind[..]].concat());
            found.push(merge(&[b"/", &mounted[..]].concat()));
        }
    }
    found.push(path);
    found
}

/// `Journey::Router::Utils.normalize_path` squeezes slashes and chops the last one; each route
/// ends with `(.:format)`, whose pattern is `[^/.?]+`.
fn rails(path: &[u8]) -> Vec<Vec<u8>> {
    let path = merge(until(path, b"?"));
    let path = trim_end(&path, b"/");
    let without_format = last_segment(path, |last| match last.iter().rposition(|b| *b == b'.') {
        Some(at) if at > 1 && at + 1 < last.len() => &last[..at],
        _ => last,
    });
    vec![path.to_vec(), decode(&without_format), without_format]
}

/// `Rack::Files`: `Utils.unescape_path`, then `Utils.clean_path_info`.
fn rack_files(path: &[u8]) -> Vec<Vec<u8>> {
    vec![clean(&decode(until(path, b"?")))]
}

/// `PATH_INFO` arrives decoded, `%2F` with it (PEP 3333); `Map.merge_slashes` is on.
fn werkzeug(path: &[u8]) -> Vec<Vec<u8>> {
    let path = decode(until(path, b"?"));
    vec![merge(&path), path]
}

/// `django.views.static.serve` took `posixpath.normpath(unquote(path))` of a path that had been
/// decoded before (until 1.11).
fn django_static(path: &[u8]) -> Vec<Vec<u8>> {
    vec![clean(&decode(&decode(until(path, b"?"))))]
}

/// `ngx_http_parse_complex_uri`: decodes and resolves in one go; `merge_slashes` on, or off.
fn nginx(path: &[u8]) -> Vec<Vec<u8>> {
    let path = decode(until(path, b"?#"));
    vec![resolve(&merge(&path)), resolve(&path)]
}

/// Locations match without regard to case there, and names lose dots and spaces at the end
/// (changes of 0.7.65 and 0.8.33: `::$data`, trailing dots and spaces).
fn nginx_on_windows(path: &[u8]) -> Vec<Vec<u8>> {
    windows(&slashes(&decode(until(path, b"?#"))))
}

/// `proxy_pass http://backend$uri`: the decoded path goes out as it is, and the server behind
/// reads `?` and `#` as delimiters and decodes again.
fn nginx_passing_uri(path: &[u8]) -> Vec<Vec<u8>> {
    nginx(path)
        .iter()
        .flat_map(|seen| nginx(until(seen, b"?#")))
        .collect()
}

/// `ap_unescape_url`, `ap_getparents`, `MergeSlashes On`; `AllowEncodedSlashes On` decodes `%2F`.
fn apache(path: &[u8]) -> Vec<Vec<u8>> {
    let path = decode(until(path, b"?"));
    vec![resolve(&merge(&path)), resolve(&path)]
}

/// Dot segments were resolved, then decoded once more (CVE-2021-42013).
fn apache_2_4_50(path: &[u8]) -> Vec<Vec<u8>> {
    apache(path)
        .iter()
        .map(|seen| resolve(&merge(&decode(seen))))
        .collect()
}

/// `Options MultiViews`: `admin` answers to `/admin`, and `admin.php`, `admin.en.html` to both
/// their names, with a path behind them (`mod_negotiation`).
fn apache_multi_views(path: &[u8]) -> Vec<Vec<u8>> {
    let path = resolve(&merge(&decode(until(path, b"?"))));
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    let mut found = vec![path.clone()];
    for (at, segment) in segments.iter().enumerate() {
        let dots = segment.iter().enumerate().filter(|(_, b)| **b == b'.');
        for (dot, _) in dots.filter(|(dot, _)| *dot > 0) {
            let mut changed = segments.clone();
            changed[at] = &segment[..dot];
            found.push([b"/", &changed.join(&b'/')[..]].concat());
        }
    }
    found
}

/// `ServeMux` and `FileServer` match `path.Clean` of the decoded path.
fn go(path: &[u8]) -> Vec<Vec<u8>> {
    let path = decode(until(path, b"?#"));
    vec![clean(&path), path]
}

/// Two layers that decode before a server that does so too.
fn decoded_thrice(path: &[u8]) -> Vec<Vec<u8>> {
    let path = decode(&decode(&decode(until(path, b"?"))));
    vec![
        resolve(&merge(&path)),
        resolve(&merge(&slashes(&path))),
        path,
    ]
}

/// Compatibility characters dissolved before anything else is looked at: the default form of
/// `ActiveSupport::Multibyte::Chars#normalize`, and `unicodedata.normalize("NFKC", …)` in many
/// applications.
fn nfkc(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(until(path, b"?"));
    let text: String = String::from_utf8_lossy(&decoded).nfkc().collect();
    vec![
        resolve(&merge(text.as_bytes())),
        lower(&resolve(&merge(&slashes(text.as_bytes())))),
    ]
}

/// Java read overlong forms (Tomcat with `%c0%ae`, CVE-2008-2938), PHP's `utf8_decode` did.
fn overlong(path: &[u8]) -> Vec<Vec<u8>> {
    let path = lenient_utf8(&decode(until(path, b"?")));
    vec![resolve(&merge(&path)), resolve(&merge(&slashes(&path)))]
}

/// Filters that take control characters and broken UTF-8 out (`String#scrub`, `iconv //IGNORE`).
fn controls_dropped(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(until(path, b"?"));
    let text: String = String::from_utf8_lossy(&decoded)
        .chars()
        .filter(|c| !c.is_control() && *c != '\u{fffd}')
        .collect();
    vec![resolve(&merge(text.as_bytes()))]
}

/// What hands the path to C, where a string ends at its first NUL.
fn cut_at_nul(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(until(path, b"?"));
    vec![resolve(&merge(until(&decoded, &[0])))]
}

/// File names without regard to case and to characters that show nothing (CVE-2014-9390).
fn hfs_plus(path: &[u8]) -> Vec<Vec<u8>> {
    let decoded = decode(until(path, b"?"));
    let text: String = String::from_utf8_lossy(&decoded)
        .chars()
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'))
        .nfd()
        .collect();
    vec![lower(&resolve(&merge(text.as_bytes())))]
}
