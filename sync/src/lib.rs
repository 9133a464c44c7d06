//! Millpond's synchronisation: wire types, the engine, and the PostgreSQL side.

pub mod change;
pub mod fault;
pub mod port;
pub mod postgres;
