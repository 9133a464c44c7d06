//! Millpond's synchronisation: wire types, the engine, and the PostgreSQL side.

pub mod backoff;
pub mod change;
pub mod engine;
pub mod fault;
pub mod plan;
pub mod port;
pub mod postgres;
