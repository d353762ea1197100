//! Sessions and people that are out although their tokens still hold.
//!
//! A session token is good until it ends, whatever happened at Clerk since. Whoever learns that a
//! session is over (a sign-out here, a webhook, Clerk's word on a session) notes it here, and from
//! the next request on its tokens are refused. Nothing a stranger sends gets in.

mod notes;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::jwt::Token;
use crate::core::question::TokenStanding;
use crate::store::notices::{Notice, Notices, Out, Whose};
use notes::{Note, Notes};

/// By how much the clock of another gate may be ahead, in seconds.
const AHEAD_S: u64 = 60;

/// What is known to be over.
pub struct Denials {
    keep: Duration,
    others: Notices,
    noted: AtomicBool,
    notes: RwLock<Notes>,
    changes: watch::Sender<u64>,
}

/// What a token tells that can have come to an end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'t> {
    /// `sid`.
    pub session: Option<&'t str>,
    /// `sub`.
    pub user: Option<&'t str>,
    /// The active organisation.
    pub organization: Option<&'t str>,
    /// When it was issued, in seconds since the epoch.
    pub issued: u64,
}

impl Denials {
    /// Nobody is out. Notes are kept for `keep`: as long as the oldest seal lives.
    pub fn new(keep: Duration) -> Self {
        Self::telling(keep, Notices::alone())
    }

    /// The same, and other gates are told of what is noted here.
    pub fn telling(keep: Duration, others: Notices) -> Self {
        Self {
            keep,
            others,
            noted: AtomicBool::new(false),
            notes: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// A session is over. `now_ms` in milliseconds since the epoch, as below.
    pub fn deny_session(&self, session: &str, now_ms: u64) {
        self.note(Whose::Session(session.into()), now_ms, |note| {
            note.revoked_to = u64::MAX;
        });
    }

    /// Every token that a person has now is refused. One that is issued later is not.
    pub fn deny_user(&self, user: &str, now_ms: u64) {
        self.note(Whose::User(user.into()), now_ms, |note| {
            note.revoked_to = note.revoked_to.max(now_ms / 1000);
        });
    }

    /// What tokens say of a person has changed: those issued before `issued_before` (in seconds since
    /// the epoch) have to be renewed before they count.
    pub fn expire_tokens(&self, user: &str, issued_before: u64, now_ms: u64) {
        self.note(Whose::User(user.into()), now_ms, |note| {
            note.outdated_before = note.outdated_before.max(issued_before);
        });
    }

    /// The same of everybody whose token names this organisation as the active one.
    pub fn expire_tokens_in(&self, organization: &str, issued_before: u64, now_ms: u64) {
        self.note(Whose::Organization(organization.into()), now_ms, |note| {
            note.outdated_before = note.outdated_before.max(issued_before);
        });
    }

    /// Notes what another gate says. It is not told again.
    pub fn heard(&self, out: &Out, now_ms: u64) {
        let latest = now_ms.saturating_add(self.keep_ms());
        let forget_at_ms = out.forget_at_ms.min(latest);
        if forget_at_ms <= now_ms {
            return;
        }
        // SECURITY: a time ahead would keep a person out who signs in anew, whatever is said later.
        let latest_s = match out.whose {
            Whose::Session(_) => u64::MAX,
            Whose::User(_) | Whose::Organization(_) => (now_ms / 1000).saturating_add(AHEAD_S),
        };
        self.change(|notes| {
            if !notes.have_room_for_others(&out.whose) {
                return None;
            }
            notes.put(out.whose.clone(), forget_at_ms, now_ms, |note| {
                note.revoked_to = note.revoked_to.max(out.revoked_to.min(latest_s));
                note.outdated_before = note.outdated_before.max(out.outdated_before.min(latest_s));
            })
        });
    }

    /// Whether a session is known to be over.
    pub fn is_denied(&self, session: &str, now_ms: u64) -> bool {
        self.noted.load(Ordering::Acquire)
            && self.of(&Whose::Session(session.into()), now_ms).revoked_to > 0
    }

    /// How a token stands. Its signature and its times are somebody else's affair.
    pub fn standing(&self, token: &Token, now_ms: u64) -> TokenStanding {
        if !self.noted.load(Ordering::Acquire) {
            return TokenStanding::Stands;
        }
        let identity = token.identity();
        let told = Told {
            session: token.text("sid"),
            user: token.text("sub"),
            organization: identity.and_then(|identity| identity.organization_id()),
            issued: issued(token),
        };
        self.standing_of(&told, now_ms)
    }

    /// How a token stands that told this much.
    pub fn standing_of(&self, told: &Told<'_>, now_ms: u64) -> TokenStanding {
        if !self.noted.load(Ordering::Acquire) {
            return TokenStanding::Stands;
        }
        let of = |subject: Option<Whose>| {
            subject.map_or(Note::default(), |subject| self.of(&subject, now_ms))
        };
        let session = of(told.session.map(|sid| Whose::Session(sid.into())));
        let user = of(told.user.map(|sub| Whose::User(sub.into())));
        let organization = of(told.organization.map(|id| Whose::Organization(id.into())));
        let issued = told.issued;
        if session.revoked_to > 0 || (user.revoked_to > 0 && issued <= user.revoked_to) {
            TokenStanding::Revoked
        } else if issued < user.outdated_before.max(organization.outdated_before) {
            TokenStanding::Outdated
        } else {
            TokenStanding::Stands
        }
    }

    /// Tells of each note: for whoever keeps something open in a person's name.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn of(&self, whose: &Whose, now_ms: u64) -> Note {
        let notes = self.notes.read().unwrap_or_else(PoisonError::into_inner);
        notes.of(whose, now_ms)
    }

    fn keep_ms(&self) -> u64 {
        u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX)
    }

    /// Makes a note, and tells the other gates of it.
    fn note(&self, whose: Whose, now_ms: u64, change: impl FnOnce(&mut Note)) {
        let forget_at_ms = now_ms.saturating_add(self.keep_ms());
        let noted = self.change(|notes| notes.put(whose.clone(), forget_at_ms, now_ms, change));
        if let Some(note) = noted {
            self.others.tell(Notice::Out(Out {
                whose,
                revoked_to: note.revoked_to,
                outdated_before: note.outdated_before,
                forget_at_ms: note.forget_at_ms,
            }));
        }
    }

    /// Changes the notes, and says so if there is news.
    fn change(&self, change: impl FnOnce(&mut Notes) -> Option<Note>) -> Option<Note> {
        let note = {
            let mut notes = self.notes.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut notes)
        }?;
        self.noted.store(true, Ordering::Release);
        self.changes.send_modify(|count| *count += 1);
        Some(note)
    }
}

/// When a token was issued, in seconds since the epoch.
// SECURITY: a token that does not say when it was issued is as old as can be.
pub(super) fn issued(token: &Token) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time before the epoch, and one beyond all calendars, is at the end of its range"
    )]
    token.number("iat").map_or(0, |iat| iat as u64)
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes = self.notes.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Denials")
            .field("noted", &notes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::notes::{AGAIN_MS, CAPACITY, CAPACITY_OF_OTHERS, SLACK};
    use super::*;

    const NOW: u64 = 1_790_000_000_000;
    const DAY: Duration = Duration::from_hours(24);

    fn token(session: &str, user: &str, issued: Option<u64>) -> Token {
        let claims = json!({ "sid": session, "sub": user, "iat": issued });
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let raw = format!("{}.{}.AAAA", encode("{}"), encode(&claims.to_string()));
        Token::decode(&raw).unwrap()
    }

    #[test]
    fn a_denied_session_is_out_whenever_its_token_was_issued() {
        let denials = Denials::new(DAY);
        let issued = Some(NOW / 1000 + 60);
        let standing = |session| denials.standing(&token(session, "user_1", issued), NOW);
        assert_eq!(standing("sess_1"), TokenStanding::Stands);
        denials.deny_session("sess_1", NOW);
        assert_eq!(standing("sess_1"), TokenStanding::Revoked);
        assert_eq!(standing("sess_2"), TokenStanding::Stands);
        assert!(denials.is_denied("sess_1", NOW) && !denials.is_denied("sess_2", NOW));
    }

    #[test]
    fn who_is_out_can_sign_in_again() {
        let denials = Denials::new(DAY);
        denials.deny_user("user_1", NOW);
        let second = NOW / 1000;
        for (issued, expected) in [
            (None, TokenStanding::Revoked),
            (Some(second), TokenStanding::Revoked),
            (Some(second + 1), TokenStanding::Stands),
        ] {
            let found = denials.standing(&token("sess_1", "user_1", issued), NOW);
            assert_eq!(found, expected, "{issued:?}");
        }
    }

    #[test]
    fn an_outdated_token_has_to_be_renewed() {
        let denials = Denials::new(DAY);
        let second = NOW / 1000;
        denials.expire_tokens("user_1", second, NOW);
        let standing = |issued| denials.standing(&token("sess_1", "user_1", Some(issued)), NOW);
        assert_eq!(standing(second - 1), TokenStanding::Outdated);
        assert_eq!(standing(second), TokenStanding::Stands);
        // A worse note does not give way to this one.
        denials.deny_user("user_1", NOW);
        denials.expire_tokens("user_1", second + 5, NOW);
        assert_eq!(standing(second), TokenStanding::Revoked);
    }

    #[test]
    fn a_note_is_kept_as_long_as_it_is_said_and_anew_when_it_is_made_again() {
        let denials = Denials::new(DAY);
        let day = u64::try_from(DAY.as_millis()).unwrap();
        denials.deny_session("sess_1", NOW);
        denials.deny_session("sess_1", NOW + day / 2);
        assert!(denials.is_denied("sess_1", NOW + day + 1));
        assert!(!denials.is_denied("sess_1", NOW + day / 2 + day));
        // The next note clears away what has had its time.
        denials.deny_session("sess_2", NOW + 2 * day);
        assert_eq!(format!("{denials:?}"), "Denials { noted: 1, .. }");
    }

    #[test]
    fn saying_the_same_again_takes_no_room_and_tells_nobody() {
        let denials = Denials::new(DAY);
        let changes = denials.changes();
        denials.deny_session("sess_1", NOW);
        for again in 0..1_000 {
            denials.deny_session("sess_1", NOW + again);
            denials.deny_user("user_1", NOW);
            denials.expire_tokens("user_1", 5, NOW);
        }
        assert_eq!(*changes.borrow(), 3);
        assert_eq!(denials.notes.read().unwrap().order.len(), 3);
        // Nor does what is another thing each time.
        for again in 0..1_000 {
            denials.deny_user("user_2", NOW + again * 1_000);
        }
        assert!(denials.notes.read().unwrap().order.len() < 3 + 10 + SLACK);
        let told = *changes.borrow();
        // What is said an hour later is kept an hour longer.
        denials.deny_session("sess_1", NOW + AGAIN_MS + 1);
        assert_eq!(*changes.borrow(), told + 1);
        // And what is worse is news.
        denials.deny_user("user_1", NOW + 1_000);
        assert_eq!(*changes.borrow(), told + 2);
    }

    #[test]
    fn what_another_gate_says_counts_as_long_as_it_says_and_no_longer_than_a_note_of_ours() {
        let denials = Denials::new(DAY);
        let day = u64::try_from(DAY.as_millis()).unwrap();
        let out = |whose, forget_at_ms| Out {
            whose,
            revoked_to: NOW / 1000,
            outdated_before: 0,
            forget_at_ms,
        };
        let session = |id: &str| Whose::Session(id.into());
        denials.heard(&out(session("sess_1"), NOW + 60_000), NOW);
        assert!(denials.is_denied("sess_1", NOW + 59_999));
        assert!(!denials.is_denied("sess_1", NOW + 60_000));
        denials.heard(&out(session("sess_2"), u64::MAX), NOW);
        assert!(denials.is_denied("sess_2", NOW + day - 1));
        assert!(!denials.is_denied("sess_2", NOW + day));
        // What is over is none, and what says nothing new is no news.
        denials.heard(&out(session("sess_3"), NOW), NOW);
        let told = *denials.changes().borrow();
        denials.heard(&out(session("sess_2"), u64::MAX), NOW);
        assert_eq!(*denials.changes().borrow(), told);
        assert_eq!(format!("{denials:?}"), "Denials { noted: 2, .. }");
        // Nobody is kept out of what they sign in to later.
        let ahead = Out {
            revoked_to: u64::MAX,
            ..out(Whose::User("user_2".into()), u64::MAX)
        };
        denials.heard(&ahead, NOW);
        let now = denials.standing(&token("sess_8", "user_2", None), NOW);
        assert_eq!(now, TokenStanding::Revoked);
        let later = Told {
            user: Some("user_2"),
            issued: NOW / 1000 + AHEAD_S + 1,
            ..Told::default()
        };
        assert_eq!(denials.standing_of(&later, NOW), TokenStanding::Stands);
        // A note of ours is not made shorter, nor less.
        denials.deny_user("user_1", NOW);
        denials.heard(&out(Whose::User("user_1".into()), NOW + 1), NOW);
        let late = denials.standing(&token("sess_9", "user_1", None), NOW + day - 1);
        assert_eq!(late, TokenStanding::Revoked);
    }

    #[test]
    fn what_others_say_does_not_push_out_what_was_learned_here() {
        let denials = Denials::new(DAY);
        denials.deny_session("ours", NOW);
        for session in 0..=CAPACITY_OF_OTHERS {
            let out = Out {
                whose: Whose::Session(format!("sess_{session}").into()),
                revoked_to: u64::MAX,
                outdated_before: 0,
                forget_at_ms: NOW + 60_000,
            };
            denials.heard(&out, NOW);
        }
        let shown = format!("{denials:?}");
        let most = CAPACITY_OF_OTHERS;
        assert_eq!(shown, format!("Denials {{ noted: {most}, .. }}"));
        assert!(denials.is_denied("ours", NOW));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let denials = Denials::new(DAY);
        for session in 0..=CAPACITY {
            denials.deny_session(&format!("sess_{session}"), NOW);
        }
        let shown = format!("{denials:?}");
        assert_eq!(shown, format!("Denials {{ noted: {CAPACITY}, .. }}"));
        assert!(!denials.is_denied("sess_0", NOW));
        assert!(denials.is_denied(&format!("sess_{CAPACITY}"), NOW));
    }
}
