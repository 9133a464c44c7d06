//! What a failure means: whose fault it is, and what to do next.
//!
//! Purpose: the one place that reads SQLSTATEs. Pure. The classes are those of PostgreSQL's appendix A, "Error Codes".

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server or the network, for now: try again for ever.
    Transient,
    /// One row: find it, set it aside, go on.
    Row,
    /// The login: revoked, wrong password, or the tenant is gone. Trying again does not help.
    Login,
    /// The whole: schema, rights or programs disagree. Stop offering, keep everything, probe now and then.
    Systemic,
    /// Unknown: a row that fails alone is at fault, otherwise it is [`Fault::Systemic`].
    Unclear,
}

/// Classes an SQLSTATE.
#[must_use]
pub fn classify(sqlstate: &str) -> Fault {
    match sqlstate {
        "25006" | "40001" | "40P01" | "55P03" => Fault::Transient,
        "42P01" | "42703" | "42501" | "3F000" => Fault::Systemic,
        code => match code.get(..2) {
            Some("08" | "53" | "57") => Fault::Transient,
            Some("22" | "23" | "54") => Fault::Row,
            Some("28") => Fault::Login,
            _ => Fault::Unclear,
        },
    }
}

/// A failure of the remote side.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {message}")]
#[non_exhaustive]
pub struct RemoteError {
    /// What was being done, as "offer batch".
    pub action: &'static str,
    /// Whose fault it is.
    pub fault: Fault,
    /// The server's code, where a server answered.
    pub sqlstate: Option<String>,
    /// What happened, without secrets and without a row's values.
    pub message: String,
    /// The cause, where there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl RemoteError {
    /// Makes an error from its parts.
    #[must_use]
    pub fn new(action: &'static str, fault: Fault, message: impl Into<String>) -> Self {
        Self {
            action,
            fault,
            sqlstate: None,
            message: message.into(),
            source: None,
        }
    }
}
