//! The search for the place in a page: right before `</head>`, or where the head has no end of its
//! own, before the first tag that cannot stand in a head.
//!
//! Not right after `<head>`: by its end every policy that a `<meta>` sets has gone by, and the
//! encoding that one names stands where browsers look for it. What has gone by is passed on at once;
//! at most one tag is held back, up to a limit. Once the place is found, or there is none, nothing of
//! the page is looked at any more.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lol_html::html_content::{ContentType, EndTag};
use lol_html::send::{Element, HtmlRewriter, Settings};
use lol_html::{AsciiCompatibleEncoding, MemorySettings, element};

use super::answer::ascii_compatible;
use super::{Left, Outcome};
use crate::core::csp::{self, Delivery};
use crate::core::injection::Insertion;

/// The most that is held back of a page, in bytes: one tag with an icon written out in it fits.
pub(super) const MOST_HELD: usize = 256 * 1024;

/// How much is looked at before the next look at what was found.
const STEP: usize = 8 * 1024;

/// The most that is looked at once more, in bytes: a tag that is held back is read from its beginning
/// with each piece of it, and an upstream may send it byte by byte.
const MOST_READ_AGAIN: usize = 16 * 1024 * 1024;

/// Where the rewriter puts what has gone by.
type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A search under way.
pub(super) struct Search {
    rewriter: HtmlRewriter<'static, Sink>,
    passed: Shared<Vec<u8>>,
    state: Shared<State>,
    /// The first bytes, where a mark of the encoding may be.
    beginning: Vec<u8>,
    /// How much of the page has come and was not passed on yet.
    held: usize,
    /// How much was looked at once more.
    read_again: usize,
}

/// What the handlers of the rewriter have found.
struct State {
    insertion: Insertion,
    outcome: Option<Outcome>,
    /// How many `<template>` are open: what is inside is no part of the page yet.
    templates: usize,
}

/// Shared with the handlers, which run in the same task and are never at it at the same time.
struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What one step of a search came to.
pub(super) enum Step {
    /// It goes on.
    GoesOn(Box<Search>),
    /// It is over, and so many bytes of the piece were looked at.
    Over(Outcome, usize),
}

impl Search {
    /// A search for the place of `insertion` in a page of this encoding.
    pub(super) fn new(insertion: &Insertion, encoding: AsciiCompatibleEncoding) -> Box<Self> {
        let state = Shared::new(State {
            insertion: insertion.clone(),
            outcome: None,
            templates: 0,
        });
        let passed = Shared::new(Vec::new());
        let (of_handler, of_sink) = (state.clone(), passed.clone());
        let settings = Settings::new_send()
            .append_element_content_handler(element!("*", move |element: &mut Element<'_, '_>| {
                visit(&of_handler, element);
                Ok(())
            }))
            .with_encoding(encoding)
            .with_strict(false)
            .with_memory_settings(
                MemorySettings::new()
                    .with_max_allowed_memory_usage(MOST_HELD)
                    .with_graceful_bail_out_on_memory_limit_exceeded(true),
            );
        let sink: Sink = Box::new(move |bytes: &[u8]| of_sink.lock().extend_from_slice(bytes));
        Box::new(Self {
            rewriter: HtmlRewriter::new(settings, sink),
            passed,
            state,
            beginning: Vec::new(),
            held: 0,
            read_again: 0,
        })
    }

    /// Looks at the next piece of the page. What may be passed on is added to `out`.
    pub(super) fn next(mut self: Box<Self>, piece: &[u8], out: &mut Vec<u8>) -> Step {
        let missing = 2_usize.saturating_sub(self.beginning.len());
        self.beginning.extend(piece.iter().take(missing));
        // The mark counts before everything that is said of the encoding.
        if matches!(self.beginning.as_slice(), [0xfe, 0xff] | [0xff, 0xfe]) {
            return Step::Over(self.give_up(Left::Charset, out), 0);
        }
        let mut looked_at = 0;
        for step in piece.chunks(STEP) {
            self.read_again += self.held;
            if self.read_again > MOST_READ_AGAIN {
                return Step::Over(self.give_up(Left::TooLong, out), looked_at);
            }
            looked_at += step.len();
            let held = self.rewriter.write(step).is_ok();
            if !held {
                // INVARIANT: with a graceful end of the memory, all that was held has been passed on,
                // and the rewriter may not be asked again.
                let found = self.state.lock().outcome;
                out.append(&mut self.passed.lock());
                return Step::Over(found.unwrap_or(Outcome::Left(Left::TooLong)), looked_at);
            }
            if self.state.lock().outcome.is_some() {
                return Step::Over(self.end(out), looked_at);
            }
            let mut passed = self.passed.lock();
            self.held = (self.held + step.len()).saturating_sub(passed.len());
            out.append(&mut passed);
        }
        Step::GoesOn(self)
    }

    /// Ends the search: what is held back is passed on.
    pub(super) fn end(self: Box<Self>, out: &mut Vec<u8>) -> Outcome {
        let Self {
            rewriter,
            passed,
            state,
            ..
        } = *self;
        // Should the memory end here, everything has been passed on as well.
        let _ = rewriter.end();
        out.append(&mut passed.lock());
        let found = state.lock().outcome;
        found.unwrap_or(Outcome::Left(Left::NoPlace))
    }

    fn give_up(self: Box<Self>, left: Left, out: &mut Vec<u8>) -> Outcome {
        self.state.lock().outcome = Some(Outcome::Left(left));
        self.end(out)
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").finish_non_exhaustive()
    }
}

/// Looks at an opening tag.
fn visit(shared: &Shared<State>, element: &mut Element<'_, '_>) {
    let mut state = shared.lock();
    if state.outcome.is_some() {
        return;
    }
    let name = element.tag_name();
    if name == "template" {
        let closing = shared.clone();
        let counts = element.on_end_tag(Box::new(move |tag: &mut EndTag<'_>| {
            let mut state = closing.lock();
            state.templates = state.templates.saturating_sub(1);
            if tag.name() != "template" && state.outcome.is_none() {
                // It ends with something around it, which browsers read in another way.
                state.outcome = Some(Outcome::Left(Left::NoPlace));
            }
            Ok(())
        }));
        state.templates += usize::from(counts.is_ok());
        return;
    }
    if state.templates > 0 {
        return;
    }
    match name.as_str() {
        "head" => {
            let closing = shared.clone();
            // Without one of its own, the head ends with the first tag that cannot stand in it.
            let _ = element.on_end_tag(Box::new(move |tag: &mut EndTag<'_>| {
                let mut state = closing.lock();
                if state.outcome.is_none() && state.templates == 0 {
                    tag.before(state.insertion.markup(), ContentType::Html);
                    state.outcome = Some(Outcome::Injected);
                }
                Ok(())
            }));
        }
        "html" | "base" | "basefont" | "bgsound" | "link" | "noframes" | "noscript" | "style"
        | "title" => {}
        "meta" => {
            let left = of_meta(element, &state.insertion);
            state.outcome = left.map(Outcome::Left);
        }
        "script" => {
            if loads_clerk_js(element) {
                state.outcome = Some(Outcome::Left(Left::OwnScript));
            }
        }
        _ => {
            element.before(state.insertion.markup(), ContentType::Html);
            state.outcome = Some(Outcome::Injected);
        }
    }
}

/// Why a page with this `<meta>` is to be left alone.
fn of_meta(element: &Element<'_, '_>, insertion: &Insertion) -> Option<Left> {
    if let Some(label) = element.get_attribute("charset")
        && is_another_world(&label)
    {
        return Some(Left::Charset);
    }
    let kind = element.get_attribute("http-equiv")?;
    let content = element.get_attribute("content").unwrap_or_default();
    if kind.eq_ignore_ascii_case("content-security-policy") {
        let verdict = csp::judge(content.as_bytes(), Delivery::Meta, insertion.needs());
        return verdict.err().map(Left::from);
    }
    if kind.eq_ignore_ascii_case("content-type") {
        let (_, label) = content.split_once("charset=")?;
        return is_another_world(label.trim_matches(['"', '\'', ' '])).then_some(Left::Charset);
    }
    None
}

/// Whether a page names an encoding in which ASCII is not what it is. UTF-16 is no such name: a page
/// in which it can be read is not in it.
fn is_another_world(label: &str) -> bool {
    let known = encoding_rs::Encoding::for_label(label.as_bytes());
    known.is_some_and(|encoding| {
        encoding != encoding_rs::UTF_16BE
            && encoding != encoding_rs::UTF_16LE
            && ascii_compatible(label.as_bytes()).is_none()
    })
}

/// Whether a script of the page is clerk-js, as Clerk's documents and SDKs write it.
fn loads_clerk_js(element: &Element<'_, '_>) -> bool {
    let src = element.get_attribute("src");
    element.has_attribute("data-clerk-publishable-key")
        || src.is_some_and(|src| {
            src.contains("/@clerk/clerk-js@") || src.ends_with("/clerk.browser.js")
        })
}
