//! The PostgreSQL side: connections, a private server, the central schema's administration and the push.
//!
//! Purpose: everything that talks to PostgreSQL. Depends on [`crate::change`], [`crate::fault`] and [`crate::port`];
//! knows no terminal, no SQLite and no domain type. Invariants: no error carries a password or a row's values;
//! every call to a server has a timeout.

pub mod central;
pub mod connect;
pub mod endpoint;
pub mod names;
#[cfg(unix)]
pub mod private;
mod schema;
