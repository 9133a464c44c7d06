//! Everything that needs a PostgreSQL server: one private cluster for the run, a database for each test.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod administration;
mod attacks;
mod bench;
mod catalogue;
mod isolation;
mod migrations;
mod private_server;
mod push;
mod refusals;
mod rows;
mod support;
