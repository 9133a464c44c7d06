//! Reads what developers' tools left behind, or say as they work, and turns it into sessions and calls.
//!
//! One file per source format. Depends on `domain`, and on `store` only in [`import`] and [`claude_hook::record`];
//! knows no terminal. Readers are streams: they hold what one line and the open calls need, never a file. What a
//! tool printed, read or wrote is measured and never kept; of a command line only the program's name is kept, and
//! only one of a shape that a secret seldom has. What cannot be used is counted and passed over: a bad line never
//! ends an import.

pub mod claude;
pub mod claude_hook;
#[cfg(test)]
mod desk;
pub mod import;
mod lenient;
pub mod lines;
pub mod program;
pub mod sighting;
pub mod spool;
pub mod walk;
