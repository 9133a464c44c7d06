//! The nouns of Millpond and the values they are made of.
//!
//! Purpose: types that cannot hold what a store would have to refuse. Depends on no I/O and on no other module.
//! Invariants: every text is valid UTF-8 without NUL and within its limit in characters; every time lies in
//! 1970..9999; ids that can be derived are derived here and nowhere else.

pub mod dashboard;
pub mod ids;
pub mod json;
pub mod permission;
pub mod session;
pub mod tenant;
pub mod tool_metric;
pub mod units;
pub mod user;

pub use units::InvalidValue;
