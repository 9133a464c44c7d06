//! Millpond.

pub mod clock;
pub mod domain;
pub mod replication;
pub mod seed;
pub mod store;
