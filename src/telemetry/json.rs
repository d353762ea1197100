//! A line of the log in JSON.
//!
//! Written into one buffer and handed over as a whole: the formatter that `tracing-subscriber` has
//! hands over each piece by itself, which for the line of a request is a hundred times.

use std::fmt::{self, Debug};
use std::io::Write as _;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Room for the usual line of a request.
const USUAL_LENGTH: usize = 512;

/// Writes events as JSON objects: `timestamp`, `level`, the event's own fields, `target`.
#[derive(Clone, Copy, Debug)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut object = Object::begin();
        object.field("timestamp", &time);
        object.field("level", event.metadata().level().as_str());
        event.record(&mut object);
        object.field("target", event.metadata().target());
        writer.write_str(object.end()?)
    }
}

/// A JSON object that is being written.
struct Object(Vec<u8>);

impl Object {
    fn begin() -> Self {
        let mut text = Vec::with_capacity(USUAL_LENGTH);
        text.push(b'{');
        Self(text)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        // Neither text nor numbers fail, and a buffer takes everything.
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn end(&mut self) -> Result<&str, fmt::Error> {
        let _ = self.0.write_all(b"}\n");
        std::str::from_utf8(&self.0).map_err(|_| fmt::Error)
    }
}

impl Visit for Object {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Pages(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Pages {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Pages {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_whatever_stands_in_it() {
        let pages = Pages::default();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLines)
            .with_writer(pages.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(
                target: "here",
                text = "a \"quoted\"\nline \u{1b} é",
                shown = %"plain",
                debugged = ?Some("x\n"),
                whole = 7_u64,
                less = -7_i64,
                part = 0.5,
                yes = true,
                nothing = None::<&str>,
                "what {}", "happened"
            );
        });
        let text = String::from_utf8(pages.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        let expected = json!({
            "level": "WARN", "target": "here", "message": "what happened",
            "text": "a \"quoted\"\nline \u{1b} é", "shown": "plain", "debugged": "Some(\"x\\n\")",
            "whole": 7, "less": -7, "part": 0.5, "yes": true,
        });
        assert_eq!(line, expected);
    }
}
