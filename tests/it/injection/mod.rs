//! clerk-js in pages of an application that has none.

mod answers;
mod pages;
mod streamed;
