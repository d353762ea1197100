//! The last decisions, for a person to look at: who asked for what, what was done, and why.
//!
//! What is kept of a request is what the log says of it, and what the verdict followed from. There is no
//! token in it, no cookie, no query and no key.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::access::Action;
use super::requests::Mode;
use crate::core::recorded::Recorded;

/// How much memory decisions take at most, in bytes.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What an entry takes beside its texts, at most.
const ENTRY_BYTES: usize = 2048;

/// What became of a request.
#[derive(Debug)]
pub struct Entry {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// The id that the log and the answer have too. A client may choose it, so several may have one.
    pub request_id: String,
    /// How it came.
    pub mode: Mode,
    /// The method.
    pub method: String,
    /// The canonical path, without query; `None` if it could not be read.
    pub path: Option<String>,
    /// The host that was asked for.
    pub host: Option<String>,
    /// The route that decided, or what stands for it.
    pub route: String,
    /// What was done.
    pub decision: Action,
    /// Why, with the detail.
    pub reason: Option<String>,
    /// Another reading of the path that made it stricter.
    pub reading: Option<&'static str>,
    /// The user.
    pub user: Option<String>,
    /// What the client sees.
    pub status: u16,
    /// The status of the upstream, if it was asked.
    pub upstream_status: Option<u16>,
    /// How long the verdict took.
    pub verdict: Duration,
    /// How long somebody else took to answer.
    pub upstream: Option<Duration>,
    /// How long it took until the answer began.
    pub total: Duration,
    /// The number of the configuration that it was judged by.
    pub generation: u64,
    /// The trace that it is in, where it was written down.
    pub trace: Option<String>,
    /// What the verdict followed from; `None` if there was none.
    pub recorded: Option<Arc<Recorded>>,
}

impl Entry {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let texts = [&self.path, &self.host, &self.reason, &self.user];
        let texts = texts.into_iter().flatten().map(String::len);
        let recorded = self
            .recorded
            .as_ref()
            .map_or(0, |recorded| recorded.bytes());
        let always = self.request_id.len() + self.method.len() + self.route.len();
        ENTRY_BYTES + always + texts.sum::<usize>() + recorded
    }
}

/// Which decisions are asked for. Those that everything holds of which is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this route.
    pub route: Option<String>,
    /// Those of which this was done.
    pub decision: Option<String>,
    /// Those whose reason has this code, or begins with it.
    pub reason: Option<String>,
    /// Those with this status, or of this class (`4xx`).
    pub status: Option<String>,
    /// Those with this id.
    pub request_id: Option<String>,
}

impl Filter {
    /// Whether a decision is one of them.
    pub fn takes(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        let status = entry.status.to_string();
        let class = format!("{}xx", entry.status / 100);
        let reason = entry.reason.as_deref().unwrap_or("none");
        is(&self.route, &entry.route)
            && is(&self.decision, entry.decision.name())
            && is(&self.request_id, &entry.request_id)
            && self
                .reason
                .as_deref()
                .is_none_or(|code| reason.starts_with(code))
            && (is(&self.status, &status) || is(&self.status, &class))
    }
}

/// The last decisions, of which the oldest go first.
#[derive(Debug, Default)]
pub struct Decisions {
    most: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Decisions {
    /// Keeps at most so many from now on, in [`MOST_BYTES`]; none for 0.
    pub fn keep_at_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.kept().shrink(most);
    }

    /// Whether any are kept: what they say is put together only then.
    pub fn are_kept(&self) -> bool {
        self.most.load(Ordering::Relaxed) > 0
    }

    /// Keeps one more.
    pub fn keep(&self, entry: Entry) {
        let entry = Arc::new(entry);
        let mut kept = self.kept();
        kept.bytes += entry.bytes();
        kept.entries.push_back(entry);
        kept.shrink(self.most.load(Ordering::Relaxed));
    }

    /// Those that a filter takes, the youngest first.
    pub fn found(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        // The lock is for as long as it takes to point at them: requests wait for it.
        let all: Vec<Arc<Entry>> = self.kept().entries.iter().rev().cloned().collect();
        all.into_iter()
            .filter(|entry| filter.takes(entry))
            .collect()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn shrink(&mut self, most: usize) {
        while self.entries.len() > most || self.bytes > MOST_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, path: usize) -> Entry {
        Entry {
            at_ms: 1,
            request_id: id.to_owned(),
            mode: Mode::Proxy,
            method: "GET".to_owned(),
            path: Some("x".repeat(path)),
            host: None,
            route: "members".to_owned(),
            decision: Action::Refuse,
            reason: Some("session-token-expired-refresh-expired".to_owned()),
            reading: None,
            user: None,
            status: 401,
            upstream_status: None,
            verdict: Duration::ZERO,
            upstream: None,
            total: Duration::ZERO,
            generation: 1,
            trace: None,
            recorded: None,
        }
    }

    fn ids(decisions: &Decisions) -> Vec<String> {
        let found = decisions.found(&Filter::default());
        found.iter().map(|entry| entry.request_id.clone()).collect()
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let decisions = Decisions::default();
        assert!(!decisions.are_kept());
        decisions.keep_at_most(2);
        assert!(decisions.are_kept());
        for id in ["a", "b", "c"] {
            decisions.keep(entry(id, 1));
        }
        assert_eq!(ids(&decisions), ["c", "b"]);
        decisions.keep_at_most(1);
        assert_eq!(ids(&decisions), ["c"]);
        decisions.keep_at_most(0);
        assert_eq!(ids(&decisions).len(), 0);
        assert_eq!(decisions.kept().bytes, 0);
    }

    #[test]
    fn the_oldest_go_where_they_take_too_much_room() {
        let decisions = Decisions::default();
        decisions.keep_at_most(1000);
        let large = MOST_BYTES / 4;
        for id in ["a", "b", "c", "d", "e"] {
            decisions.keep(entry(id, large));
        }
        assert_eq!(ids(&decisions), ["e", "d", "c"]);
        assert!(decisions.kept().bytes <= MOST_BYTES);
        decisions.keep(entry("f", MOST_BYTES));
        assert_eq!(
            ids(&decisions).len(),
            0,
            "what has no room at all is not kept"
        );
    }

    #[test]
    fn a_filter_takes_what_all_of_it_holds_of() {
        let entry = entry("r-1", 1);
        let with = |change: fn(&mut Filter, String), value: &str| {
            let mut filter = Filter::default();
            change(&mut filter, value.to_owned());
            filter.takes(&entry)
        };
        for (value, taken) in [("members", true), ("member", false)] {
            assert_eq!(with(|f, v| f.route = Some(v), value), taken, "{value}");
        }
        for (value, taken) in [("refuse", true), ("forward", false)] {
            assert_eq!(with(|f, v| f.decision = Some(v), value), taken, "{value}");
        }
        for (value, taken) in [
            ("session-token-expired", true),
            ("session-token-expired-refresh-expired", true),
            ("expired", false),
            ("none", false),
        ] {
            assert_eq!(with(|f, v| f.reason = Some(v), value), taken, "{value}");
        }
        for (value, taken) in [("401", true), ("4xx", true), ("40", false), ("5xx", false)] {
            assert_eq!(with(|f, v| f.status = Some(v), value), taken, "{value}");
        }
        for (value, taken) in [("r-1", true), ("r-", false)] {
            assert_eq!(with(|f, v| f.request_id = Some(v), value), taken, "{value}");
        }
        let both = Filter {
            route: Some("members".to_owned()),
            status: Some("200".to_owned()),
            ..Filter::default()
        };
        assert!(!both.takes(&entry));
    }
}
