//! What is noted of sessions, people and organisations: bounded, and forgotten in time.

use std::collections::{HashMap, VecDeque};

use crate::store::notices::Whose;

/// How many sessions and people are kept in mind. The oldest note goes first. Whoever could fill this
/// would have to end as many sessions that are theirs; a note that is made again takes no further room.
pub(super) const CAPACITY: usize = 1_000_000;

/// How many there may be for what other gates say to be kept in mind.
// SECURITY: whoever can write where gates share must not push out what was learned here.
pub(super) const CAPACITY_OF_OTHERS: usize = CAPACITY / 2;

/// How much longer a note has to be kept for making it again to change anything, in milliseconds.
pub(super) const AGAIN_MS: u64 = 60 * 60 * 1000;

/// How much longer than the notes their order may be.
pub(super) const SLACK: usize = 64;

/// All notes.
#[derive(Default)]
pub(super) struct Notes {
    by_subject: HashMap<Whose, Note>,
    /// The subjects in the order in which they were noted, with the time at which they may go.
    pub(super) order: VecDeque<(Whose, u64)>,
}

/// A note about somebody.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// Tokens issued up to this second are out, those of a session whenever they were issued.
    pub(super) revoked_to: u64,
    /// Tokens issued before this second tell of a time that is over: they have to be renewed.
    pub(super) outdated_before: u64,
    /// In milliseconds since the epoch.
    pub(super) forget_at_ms: u64,
}

impl Notes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// What is noted about somebody.
    pub(super) fn of(&self, whose: &Whose, now_ms: u64) -> Note {
        let note = self.by_subject.get(whose).copied().unwrap_or_default();
        if now_ms < note.forget_at_ms {
            note
        } else {
            Note::default()
        }
    }

    /// Whether what another gate says about somebody is kept in mind.
    pub(super) fn have_room_for_others(&self, whose: &Whose) -> bool {
        self.len() < CAPACITY_OF_OTHERS || self.by_subject.contains_key(whose)
    }

    /// Changes a note, or makes one. What is noted then, if that is news.
    pub(super) fn put(
        &mut self,
        whose: Whose,
        forget_at_ms: u64,
        now_ms: u64,
        change: impl FnOnce(&mut Note),
    ) -> Option<Note> {
        let before = self.by_subject.get(&whose).copied().unwrap_or_default();
        let mut note = before;
        change(&mut note);
        // SECURITY: whoever holds an old token may have its session noted again and again. That must
        // neither push others out nor have all that is open looked at.
        if note == before && forget_at_ms <= before.forget_at_ms.saturating_add(AGAIN_MS) {
            return None;
        }
        note.forget_at_ms = forget_at_ms.max(before.forget_at_ms);
        self.by_subject.insert(whose.clone(), note);
        self.order.push_back((whose, note.forget_at_ms));
        self.forget(now_ms);
        Some(note)
    }

    /// Lets go of what has had its time, and of the oldest where there is too much.
    fn forget(&mut self, now_ms: u64) {
        let by_subject = &mut self.by_subject;
        // INVARIANT: the order is no longer than twice the notes, however often they are made again.
        if self.order.len() > 2 * by_subject.len() + SLACK {
            let counts = |(subject, at): &(Whose, u64)| {
                (by_subject.get(subject)).is_some_and(|note| note.forget_at_ms == *at)
            };
            self.order.retain(counts);
        }
        while let Some((subject, at)) = self.order.front() {
            if *at > now_ms && by_subject.len() <= CAPACITY {
                return;
            }
            // A subject that was noted again stands in the order once more.
            if by_subject
                .get(subject)
                .is_some_and(|note| note.forget_at_ms == *at)
            {
                by_subject.remove(subject);
            }
            self.order.pop_front();
        }
    }
}
