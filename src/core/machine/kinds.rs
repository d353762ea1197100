//! Kinds of token, and which of them are taken (protocol reference, sections 6.1 and 6.2).

use std::fmt;

/// A kind of token, in Clerk's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// A person's session.
    Session,
    /// An API key of a user or an organisation.
    ApiKey,
    /// A machine's token for another machine.
    M2m,
    /// An OAuth access token.
    OAuth,
}

impl TokenType {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Session, Self::ApiKey, Self::M2m, Self::OAuth];

    /// Clerk's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session_token",
            Self::ApiKey => "api_key",
            Self::M2m => "m2m_token",
            Self::OAuth => "oauth_token",
        }
    }

    /// The kind of an opaque token, by how it begins (section 6.1).
    pub fn of_opaque(raw: &str) -> Option<Self> {
        [Self::M2m, Self::OAuth, Self::ApiKey]
            .into_iter()
            .find(|kind| raw.starts_with(kind.prefix()))
    }

    /// How an opaque token of this kind begins; nothing for a session, which has no such form.
    pub(in crate::core) fn prefix(self) -> &'static str {
        match self {
            Self::Session => "",
            Self::ApiKey => "ak_",
            Self::M2m => "mt_",
            Self::OAuth => "oat_",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Session => 1,
            Self::ApiKey => 2,
            Self::M2m => 4,
            Self::OAuth => 8,
        }
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of kinds of token.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenTypes(u8);

impl TokenTypes {
    /// Every kind: Clerk's `any`.
    pub const ANY: Self = Self(15);
    /// Sessions alone: what a route takes that says nothing about it.
    pub const SESSION: Self = Self(1);
    /// Every kind but sessions.
    pub const MACHINES: Self = Self(14);
    /// No kind.
    pub const NONE: Self = Self(0);

    /// The set of these kinds.
    pub fn of(kinds: &[TokenType]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | kind.bit()))
    }

    /// Whether a kind is in it.
    pub fn contains(self, kind: TokenType) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether no kind is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds in it.
    pub fn iter(self) -> impl Iterator<Item = TokenType> {
        TokenType::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }
}

impl fmt::Debug for TokenTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Which tokens are taken: the SDK's `acceptsToken` (section 6.2).
///
/// One kind and a list of several are told apart, because what a mismatch is called differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// `any`.
    Any,
    /// One kind.
    One(TokenType),
    /// A list.
    List(TokenTypes),
}

impl Accepts {
    /// Whether a kind is taken.
    pub fn contains(self, kind: TokenType) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => one == kind,
            Self::List(list) => list.contains(kind),
        }
    }
}

impl From<TokenTypes> for Accepts {
    fn from(types: TokenTypes) -> Self {
        let mut kinds = types.iter();
        match (kinds.next(), kinds.next()) {
            (Some(only), None) => Self::One(only),
            _ if types == TokenTypes::ANY => Self::Any,
            _ => Self::List(types),
        }
    }
}
