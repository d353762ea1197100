//! Sessions that ride through an outage of Clerk's, where the route says so.

mod outages;
mod rules;
