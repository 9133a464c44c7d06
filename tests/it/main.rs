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
mod batch;
mod central_schemas;
mod commands;
mod config;
mod dashboards;
mod environment;
mod examples;
mod export;
mod features;
mod figures;
mod fixture;
mod handles;
mod health;
mod health_command;
mod hook;
mod legacy;
mod legacy_attacks;
mod model;
mod outbox;
mod outbox_trouble;
mod pages;
mod query;
mod refused_values;
mod rekey;
mod repositories;
mod roles;
mod run;
mod samples;
mod schema;
mod seed;
mod store;
mod sync;
mod watch;
mod workstation;
