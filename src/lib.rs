//! Millpond.

pub mod domain;
