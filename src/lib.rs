#![doc = include_str!("../README.md")]

pub mod clock;
pub mod collect;
pub mod config;
pub mod domain;
pub mod legacy;
pub mod replication;
pub mod seed;
pub mod store;

/// The snippets of the guide, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/GUIDE.md")]
mod guide {}
