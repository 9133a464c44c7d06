//! Millpond.

pub mod clock;
pub mod domain;
pub mod replication;
pub mod store;
