//! Millpond's integration tests: one binary, so that they share one private PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod architecture;
mod bad_input;
mod central_schemas;
mod commands;
mod dashboards;
mod figures;
mod fixture;
mod handles;
mod hook;
mod model;
mod outbox;
mod outbox_trouble;
mod refused_values;
mod rekey;
mod repositories;
mod roles;
mod samples;
mod schema;
mod seed;
mod store;
mod sync;
mod workstation;
