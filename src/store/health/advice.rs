//! What follows from the figures of a report: a sentence, and what to do.

use std::fmt;
use std::time::Duration;

use super::HealthStatus;
use super::explain::MissingIndex;
use crate::domain::tenant::Domain;
use crate::domain::units::Timestamp;
use crate::store::outbox::Stopped;

/// Something that ought to be done. [`fmt::Display`] says what is the matter, [`Recommendation::fix`] what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recommendation {
    /// The tenant's file cannot be opened or read.
    Unreadable {
        /// The tenant.
        domain: Domain,
        /// The kind of error, as [`crate::store::Error::kind`] names it.
        kind: &'static str,
    },
    /// The last integrity check found something.
    Damaged {
        /// The tenant.
        domain: Domain,
        /// How much it found.
        problems: u64,
        /// When it was made.
        at: Timestamp,
    },
    /// A statement was slow.
    SlowStatement {
        /// The tenant.
        domain: Domain,
        /// The statement's id and normal form.
        statement: (String, String),
        /// How often it was slow.
        slow: u64,
        /// The longest time that it took.
        max: Duration,
    },
    /// A statement reads a whole table where SQLite would use an index.
    MissingIndex {
        /// The tenant.
        domain: Domain,
        /// The statement's id and normal form.
        statement: (String, String),
        /// The index.
        index: MissingIndex,
    },
    /// The write-ahead log is large: someone reads for long.
    LargeLog {
        /// The tenant.
        domain: Domain,
        /// Its size.
        bytes: u64,
    },
    /// Work waited long for a connection, or in vain.
    ConnectionWaits {
        /// The tenant.
        domain: Domain,
        /// The longest wait.
        max: Duration,
        /// How often work gave up.
        timeouts: u64,
    },
    /// Writers waited long for their turn, or in vain.
    WriterWaits {
        /// The tenant.
        domain: Domain,
        /// The longest wait.
        max: Duration,
        /// How often work gave up.
        timeouts: u64,
    },
    /// The file's integrity was never checked, or long ago.
    IntegrityDue {
        /// The tenant.
        domain: Domain,
        /// When it was checked last.
        last: Option<Timestamp>,
    },
    /// Rows have waited long for the central database.
    PendingOld {
        /// The tenant.
        domain: Domain,
        /// How many rows wait.
        pending: u64,
        /// Since when the oldest does.
        since: Timestamp,
    },
    /// Synchronisation stopped and needs someone.
    SyncStopped {
        /// The tenant.
        domain: Domain,
        /// Why.
        why: Stopped,
    },
    /// Rows lie in quarantine.
    Quarantine {
        /// The tenant.
        domain: Domain,
        /// How many.
        rows: u64,
    },
}

impl Recommendation {
    /// A stable name of the kind, for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Damaged { .. } => "damaged",
            Self::SlowStatement { .. } => "slow_statement",
            Self::MissingIndex { .. } => "missing_index",
            Self::LargeLog { .. } => "large_log",
            Self::ConnectionWaits { .. } => "connection_waits",
            Self::WriterWaits { .. } => "writer_waits",
            Self::IntegrityDue { .. } => "integrity_due",
            Self::PendingOld { .. } => "pending_old",
            Self::SyncStopped { .. } => "sync_stopped",
            Self::Quarantine { .. } => "quarantine",
        }
    }

    /// The status that it makes of its tenant's.
    #[must_use]
    pub const fn status(&self) -> HealthStatus {
        match self {
            Self::Unreadable { .. } | Self::Damaged { .. } => HealthStatus::Unhealthy,
            Self::MissingIndex { .. } | Self::IntegrityDue { .. } => HealthStatus::Healthy,
            _ => HealthStatus::Degraded,
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        match self {
            Self::Unreadable { domain, .. }
            | Self::Damaged { domain, .. }
            | Self::SlowStatement { domain, .. }
            | Self::MissingIndex { domain, .. }
            | Self::LargeLog { domain, .. }
            | Self::ConnectionWaits { domain, .. }
            | Self::WriterWaits { domain, .. }
            | Self::IntegrityDue { domain, .. }
            | Self::PendingOld { domain, .. }
            | Self::SyncStopped { domain, .. }
            | Self::Quarantine { domain, .. } => domain,
        }
    }

    /// What to do.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "see how the file stands with: millpond db status; else restore it from a backup"
                    .into()
            }
            Self::Damaged { domain, .. } => format!(
                "restore the file from a backup, then check it again: millpond health --integrity --tenant {domain}"
            ),
            Self::SlowStatement { .. } => {
                "ask for less of it at a time: a shorter time, a smaller page".into()
            }
            Self::MissingIndex { index, .. } => format!(
                "try it in a home for development: CREATE INDEX draft ON {} ({}), with: millpond db push FILE",
                index.table, index.column
            ),
            Self::LargeLog { .. } => {
                "end the program that has been reading for long: the log is moved into the file once no one reads what is older"
                    .into()
            }
            Self::ConnectionWaits { .. } => {
                "let fewer threads read at once, or each for a shorter time".into()
            }
            Self::WriterWaits { .. } => {
                "write more rows in one transaction, or less in each that takes long".into()
            }
            Self::IntegrityDue { domain, .. } => {
                format!("check it: millpond health --integrity --tenant {domain}")
            }
            Self::PendingOld { domain, .. } => format!("send them: millpond sync --tenant {domain}"),
            Self::SyncStopped { domain, why } => match why {
                Stopped::Gone => format!(
                    "ask for a new enrolment document, then: millpond enroll --tenant {domain} FILE"
                ),
                _ => format!("see why: millpond sync --tenant {domain}"),
            },
            Self::Quarantine { .. } => {
                "change the rows that were refused, or enrol their user: either releases them".into()
            }
        }
    }
}

/// The beginning of a statement, for a sentence.
fn brief(sql: &str) -> String {
    match sql.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", sql.get(..end).unwrap_or_default()),
        None => sql.to_owned(),
    }
}

impl fmt::Display for Recommendation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = self.domain();
        match self {
            Self::Unreadable { kind, .. } => {
                write!(out, "{domain}: its file cannot be read ({kind})")
            }
            Self::Damaged { problems, at, .. } => write!(
                out,
                "{domain}: the integrity check of {at} found {problems} problems"
            ),
            Self::SlowStatement {
                statement: (id, sql),
                slow,
                max,
                ..
            } => write!(
                out,
                "{domain}: statement {id} was slow {slow} times, {} ms at the most: {}",
                max.as_millis(),
                brief(sql)
            ),
            Self::MissingIndex {
                statement: (id, sql),
                index: MissingIndex { table, column },
                ..
            } => write!(
                out,
                "{domain}: statement {id} reads all of {table}; an index on {column} would serve: {}",
                brief(sql)
            ),
            Self::LargeLog { bytes, .. } => {
                write!(out, "{domain}: its write-ahead log has {} MiB", bytes >> 20)
            }
            Self::ConnectionWaits { max, timeouts, .. } => write!(
                out,
                "{domain}: work waited up to {} ms for a connection and gave up {timeouts} times",
                max.as_millis()
            ),
            Self::WriterWaits { max, timeouts, .. } => write!(
                out,
                "{domain}: writers waited up to {} ms for their turn and gave up {timeouts} times",
                max.as_millis()
            ),
            Self::IntegrityDue { last: None, .. } => {
                write!(out, "{domain}: the integrity of its file was never checked")
            }
            Self::IntegrityDue { last: Some(at), .. } => {
                write!(
                    out,
                    "{domain}: the integrity of its file was last checked {at}"
                )
            }
            Self::PendingOld { pending, since, .. } => {
                write!(
                    out,
                    "{domain}: {pending} rows wait to be sent, the oldest since {since}"
                )
            }
            Self::SyncStopped { why, .. } => write!(
                out,
                "{domain}: synchronisation stopped: {}",
                match why {
                    Stopped::Gone => "the central database refuses this device",
                    _ => "schema, rights or programs disagree",
                }
            ),
            Self::Quarantine { rows, .. } => {
                write!(
                    out,
                    "{domain}: {rows} rows lie in quarantine and are not sent"
                )
            }
        }
    }
}
