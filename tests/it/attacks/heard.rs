//! An answer as it came over the wire, read strictly.

/// An answer as it came over the wire.
pub struct Heard {
    /// 0 if there is no answer.
    pub status: u16,
    pub head: String,
    pub body: String,
    /// The lines behind the last chunk.
    pub trailers: String,
    /// Nothing, `...` if it broke off, `~` if more is waited for.
    pub end: &'static str,
}

impl Heard {
    /// Reads an answer; what does not fit together is a fault.
    pub fn of(bytes: &[u8], closed: bool, bodyless: bool) -> Result<Self, String> {
        if bytes.is_empty() && closed {
            return Ok(Self {
                status: 0,
                head: String::new(),
                body: String::new(),
                trailers: String::new(),
                end: "",
            });
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        let shown = || text.chars().take(300).collect::<String>();
        let (lines, rest) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| format!("no answer: {}", shown()))?;
        let status: u16 = lines
            .strip_prefix("HTTP/1.1 ")
            .and_then(|line| line.get(..3)?.parse().ok())
            .ok_or_else(|| format!("no status: {}", shown()))?;
        if lines.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return Err(format!("a line within a line: {}", shown()));
        }
        let mut heard = Self {
            status,
            head: lines.to_owned(),
            body: rest.to_owned(),
            trailers: String::new(),
            end: "",
        };
        let unended = if closed { "..." } else { "~" };
        if bodyless || matches!(status, 204 | 304) {
            if !rest.is_empty() {
                return Err(format!("a body: {}", shown()));
            }
        } else if heard.header("transfer-encoding").as_deref() == Some("chunked") {
            let (body, trailers) = unchunk(rest)?;
            heard.body = body;
            heard.end = if trailers.is_some() { "" } else { unended };
            heard.trailers = trailers.unwrap_or_default();
        } else if let Some(length) = heard.header("content-length") {
            let length: u64 = length.parse().map_err(|_| shown())?;
            match (rest.len() as u64).cmp(&length) {
                std::cmp::Ordering::Less => heard.end = unended,
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => return Err(format!("too much: {}", shown())),
            }
        } else if !closed {
            heard.end = "~";
        }
        Ok(heard)
    }

    /// The values of a header, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        (!values.is_empty()).then(|| values.join(" | "))
    }

    /// The names of the headers that are none of these.
    pub fn others_than(&self, names: &[&str]) -> Vec<&str> {
        self.head
            .split("\r\n")
            .skip(1)
            .map(|line| line.split(':').next().unwrap_or_default())
            .filter(|name| !names.contains(name))
            .collect()
    }

    /// The answer as the table writes it.
    pub fn shown(&self) -> String {
        match self.header("x-clerk-auth-reason") {
            _ if self.status == 0 => "closed".to_owned(),
            Some(code) => format!("{} {code}", self.status),
            None => format!("{} :{}{}", self.status, self.body, self.end),
        }
    }
}

/// The body of chunks, and its trailers once it has come to its end.
fn unchunk(mut rest: &str) -> Result<(String, Option<String>), String> {
    let mut body = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("no size: {size}"))?;
        if size == 0 {
            let trailers = behind.strip_suffix("\r\n");
            if trailers.is_some_and(|trailers| trailers.contains("\r\n\r\n")) {
                return Err(format!("behind the last chunk: {behind}"));
            }
            return Ok((body, trailers.map(str::to_owned)));
        }
        let (Some(piece), Some(next)) = (behind.get(..size), behind.get(size + 2..)) else {
            body.push_str(behind);
            return Ok((body, None));
        };
        body.push_str(piece);
        rest = next;
    }
    Ok((body, None))
}
