#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod change;
pub mod engine;
pub mod fault;
pub mod plan;
pub mod port;
pub mod postgres;
