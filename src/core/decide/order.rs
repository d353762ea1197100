//! Pages of our own that do something: what is to be done, and in whose name.

/// Leave to have something done or asked at Clerk, or taken in, and to answer with what came of it.
/// Only [`decide`](super::decide) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub(super) task: Task,
    pub(super) owner: Option<Owner>,
}

/// Whose sessions an order is about: always the caller's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub(super) user: String,
    pub(super) session: String,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// `/_gate/webhooks/clerk`: an event of Clerk's is checked and taken to heart.
    Webhook,
}

/// Whether events of Clerk's are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhooks {
    /// A secret to check them with is configured.
    Taken,
    /// There is none, and so no page for them.
    NotTaken,
}

impl Webhooks {
    /// Taken, if there are secrets.
    pub fn of<T>(secrets: Option<&T>) -> Self {
        match secrets {
            Some(_) => Self::Taken,
            None => Self::NotTaken,
        }
    }
}

impl Order {
    /// What is done.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Whose sessions it is about; `None` where it is about nobody in particular.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

impl Owner {
    /// The user's id.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The id of the session that the order came with.
    pub fn session(&self) -> &str {
        &self.session
    }
}
