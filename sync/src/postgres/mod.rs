//! The PostgreSQL side: connections, a private server, the central schema's administration and the push.
//!
//! Purpose: everything that talks to PostgreSQL. Depends on [`crate::change`], [`crate::fault`] and [`crate::port`];
//! knows no terminal, no SQLite and no domain type. Invariants: no error carries a password or a row's values;
//! every call to a server has a timeout.

pub mod answer;
mod bisect;
pub mod central;
pub mod connect;
mod encode;
pub mod endpoint;
pub mod names;
pub mod pool;
#[cfg(unix)]
pub mod private;
pub mod programs;
pub mod pull;
pub mod push;
mod schema;
mod statements;
mod tally;
