//! Puts clerk-js into the pages of an application that has none: into `text/html` documents, as they
//! stream by, where the permit says so.
//!
//! What is put in is told by the permit; whether an answer takes it is told by its head (`answer`)
//! and, as far as it has come, by the page (`page`). Whatever is in doubt goes on as it is, and is
//! counted (`tally`). Nothing of a page is ever taken away, and no policy of a page is loosened.

mod answer;
mod body;
mod page;
mod tally;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;

use crate::core::injection::Insertion;
pub use body::Page;
use page::Search;
pub use tally::{Left, Outcome, Tally};

/// An answer's body: as it comes, or a page on its way through.
#[derive(Debug)]
pub enum Answer<B: Body<Data = Bytes>> {
    /// It goes on as it is.
    AsItIs(B),
    /// Something is put into it.
    Page(Box<Page<B>>),
}

/// Puts `insertion` into an answer if it is a page that takes it. The head is made ready for that;
/// the answer to a HEAD gets the head that the answer to a GET has.
pub fn insert<B: Body<Data = Bytes>>(
    mut response: Response<B>,
    method: &Method,
    insertion: &Insertion,
    tally: &Arc<Tally>,
) -> Response<Answer<B>> {
    let encoding = match answer::encoding(response.status(), response.headers(), insertion.needs())
    {
        Ok(encoding) => encoding,
        Err(left) => {
            if *method != Method::HEAD {
                tally.count(Outcome::Left(left));
            }
            return response.map(Answer::AsItIs);
        }
    };
    answer::make_ready(response.headers_mut());
    if *method == Method::HEAD {
        return response.map(Answer::AsItIs);
    }
    let search = Search::new(insertion, encoding);
    response.map(|body| Answer::Page(Box::new(Page::new(body, search, Arc::clone(tally)))))
}
