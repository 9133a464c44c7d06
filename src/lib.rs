//! Millpond.

pub mod clock;
pub mod collect;
pub mod domain;
pub mod store;
