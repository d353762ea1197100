//! Metrics as Prometheus reads them: in its text format, or in that of `OpenMetrics` for who asks for it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::meters::TimesRead;

/// What there is to read: everything that is shown is asked of it each time.
#[derive(Clone, Debug)]
pub struct Exposition(Arc<Registry>);

/// How it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
    /// The text format of `OpenMetrics`, 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// What `source` writes.
    pub fn of(source: impl Collector) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(source));
        Self(Arc::new(registry))
    }

    /// The page.
    pub fn page(&self, notation: Notation) -> Result<String, fmt::Error> {
        let mut page = String::new();
        match notation {
            Notation::Prometheus => prometheus_text::encode(&mut page, &self.0)?,
            Notation::OpenMetrics => text::encode(&mut page, &self.0)?,
        }
        Ok(page)
    }
}

impl Notation {
    /// The one that a client prefers of those that it takes (RFC 9110, section 12.5.1).
    pub fn asked(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT).into_iter();
        let ranges = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        let (mut open_metrics, mut plain) = (0.0, 0.0);
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let best = match parts.next().map(str::to_ascii_lowercase).as_deref() {
                Some("application/openmetrics-text") => &mut open_metrics,
                Some("text/plain" | "text/*" | "*/*") => &mut plain,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |q| q.parse().unwrap_or(0.0));
            *best = f64::max(*best, quality);
        }
        if open_metrics > 0.0 && open_metrics >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// What the page says of itself.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// What a metric is called, what it says, and by what it is told apart.
#[derive(Debug)]
pub struct Described<const N: usize> {
    /// The name, of a counter without `_total`.
    pub name: &'static str,
    /// What it says, without a final stop.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: [&'static str; N],
}

/// The values of a sample's labels.
pub type Values<'v, const N: usize> = [Cow<'v, str>; N];

/// The page while it is written.
pub struct Sheet<'e>(DescriptorEncoder<'e>);

impl<'e> Sheet<'e> {
    /// An empty one.
    pub fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    /// Writes a counter.
    pub fn counters<'v, const N: usize>(
        &mut self,
        metric: &Described<N>,
        samples: impl IntoIterator<Item = (Values<'v, N>, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let (name, help) = (metric.name, metric.help);
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (values, total) in samples {
            let labels = metric.with(values);
            let mut sample = encoder.encode_family(&labels)?;
            sample.encode_counter::<NoLabelSet, _, f64>(&total, None)?;
        }
        Ok(())
    }

    /// Writes a gauge.
    pub fn gauges<'v, const N: usize>(
        &mut self,
        metric: &Described<N>,
        samples: impl IntoIterator<Item = (Values<'v, N>, f64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let (name, help) = (metric.name, metric.help);
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (values, value) in samples {
            let labels = metric.with(values);
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a histogram of seconds.
    pub fn histograms<'v, const N: usize>(
        &mut self,
        metric: &Described<N>,
        samples: impl IntoIterator<Item = (Values<'v, N>, TimesRead)>,
    ) -> fmt::Result {
        let kind = MetricType::Histogram;
        let (name, help) = (metric.name, metric.help);
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (values, times) in samples {
            let labels = metric.with(values);
            let mut sample = encoder.encode_family(&labels)?;
            let TimesRead { sum, count, places } = times;
            sample.encode_histogram::<NoLabelSet>(sum, count, &places, None)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet").finish_non_exhaustive()
    }
}

impl<const N: usize> Described<N> {
    /// The labels with these values.
    fn with<'v>(&self, values: Values<'v, N>) -> [(&'static str, Cow<'v, str>); N] {
        let mut values = values.into_iter();
        self.labels
            .map(|label| (label, values.next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_open_metrics_is_for_who_prefers_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, notation) in [
            (prometheus, Notation::OpenMetrics),
            ("application/openmetrics-text", Notation::OpenMetrics),
            (
                "text/html, Application/OpenMetrics-Text ; q=1",
                Notation::OpenMetrics,
            ),
            (
                "text/plain, application/openmetrics-text;q=0.9",
                Notation::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Notation::Prometheus),
            ("application/openmetrics-text;q=x", Notation::Prometheus),
            ("text/plain", Notation::Prometheus),
            ("*/*", Notation::Prometheus),
            ("application/json", Notation::Prometheus),
            ("", Notation::Prometheus),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Notation::asked(&headers), notation, "{accept}");
        }
        assert_eq!(Notation::asked(&HeaderMap::new()), Notation::Prometheus);
    }
}
