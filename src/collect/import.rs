//! Brings transcripts into a tenant's store.
//!
//! Depends on this folder's readers and on `store`; knows no terminal: progress goes to a callback. Invariants: at
//! most [`BATCH`] sightings wait in memory and are written in one transaction each; what was written stays if a
//! later file fails; importing again changes no row. A dry run reads the store and writes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use serde::Serialize;

use crate::domain::ids::{CallId, SessionId, UserId};
use crate::domain::session::Session;
use crate::domain::tool_metric::ToolMetric;
use crate::domain::units::InvalidValue;
use crate::store::{self, TenantStore};

use super::claude::{self, Origin, ReadError, Tally};
use super::sighting::{AgentId, LateResult, Sink};
use super::walk::{Found, Unreadable};

mod ledger;
mod recorder;
#[cfg(test)]
mod tests;

use ledger::{Ledger, Sighted};
use recorder::Recorder;

/// How many calls and results are written in one transaction.
pub const BATCH: usize = 1_000;

/// How much of a file is read at once.
const READ_BYTES: usize = 256 * 1024;

/// How often a tool was called, and how many of its calls failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ToolTally {
    /// Distinct calls.
    pub calls: u64,
    /// Those whose result says that they failed, refusals included.
    pub errors: u64,
}

/// What an import saw.
#[derive(Debug, Default, Serialize)]
pub struct ImportReport {
    /// Files that were read.
    pub files: u64,
    /// Lines that are not blank.
    pub lines: u64,
    /// Lines that are no JSON object.
    pub malformed: u64,
    /// Lines that could not be used, or not wholly: see [`mod@claude`].
    pub skipped: u64,
    /// Sessions that have a row.
    pub sessions: u64,
    /// Distinct calls.
    pub calls: u64,
    /// Distinct calls whose result says that they failed.
    pub errors: u64,
    /// Those of the calls that the store held before.
    pub duplicates: u64,
    /// Results whose call is nowhere.
    pub results_without_call: u64,
    /// Calls and errors of each tool.
    pub per_tool: BTreeMap<String, ToolTally>,
    /// What could not be read and was passed over.
    #[serde(skip)]
    pub unreadable: Vec<Unreadable>,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes to read in all, as far as is known.
    pub total: u64,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The store could not be read or written. Earlier batches are kept.
    #[error("cannot keep what was read")]
    Store(#[from] store::Error),
    /// A constant of the format is no valid value.
    #[error(transparent)]
    Value(#[from] InvalidValue),
}

/// Imports Claude Code's transcripts into the tenant as the work of `user`; a dry run only counts.
///
/// # Errors
/// [`ImportError::Store`] where the store fails; a file that cannot be read is reported and passed over.
pub fn claude(
    tenant: &TenantStore,
    user: UserId,
    found: Found,
    dry_run: bool,
    mut progress: impl FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    let now = tenant.read(|r| Ok::<_, store::Error>(r.now()))?;
    let total = found.bytes();
    let mut report = ImportReport {
        unreadable: found.unreadable,
        ..ImportReport::default()
    };
    let mut importer = Importer {
        tenant,
        dry_run,
        ledger: Ledger::default(),
        batch: Vec::new(),
    };
    let mut before = 0;
    for file in found.files {
        let origin = Origin::new(user, now, &file.path.to_string_lossy())?;
        let read = File::open(&file.path)
            .map_err(ReadError::Read)
            .and_then(|opened| {
                let reader = BufReader::with_capacity(READ_BYTES, opened);
                claude::read(reader, &origin, &mut importer, |bytes| {
                    progress(Progress {
                        bytes: before + bytes.min(file.bytes),
                        total,
                    });
                })
            });
        match read {
            Ok(tally) => report.add(tally),
            Err(ReadError::Sink(error)) => return Err(ImportError::Store(error)),
            Err(ReadError::Read(source)) => {
                report.unreadable.push(Unreadable {
                    path: file.path,
                    source,
                });
            }
        }
        before += file.bytes;
    }
    importer.finish()?;
    report.conclude(&importer.ledger);
    progress(Progress {
        bytes: total,
        total,
    });
    Ok(report)
}

impl ImportReport {
    fn add(&mut self, tally: Tally) {
        self.files += 1;
        self.lines += tally.lines;
        self.malformed += tally.malformed;
        self.skipped += tally.skipped;
    }

    fn conclude(&mut self, ledger: &Ledger) {
        self.sessions = ledger.sessions();
        self.duplicates = ledger.duplicates();
        self.results_without_call = ledger.unmatched();
        self.per_tool = ledger.per_tool();
        self.calls = self.per_tool.values().map(|tally| tally.calls).sum();
        self.errors = self.per_tool.values().map(|tally| tally.errors).sum();
    }
}

/// Collects what the readers see and writes it batch by batch.
struct Importer<'t> {
    tenant: &'t TenantStore,
    dry_run: bool,
    ledger: Ledger,
    batch: Vec<Sighted>,
}

impl Importer<'_> {
    fn see(&mut self, sighted: Sighted) -> Result<(), store::Error> {
        self.batch.push(sighted);
        if self.batch.len() < BATCH {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn flush(&mut self) -> Result<(), store::Error> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            Ok(())
        } else {
            self.perform(|ledger, recorder| ledger.keep(&batch, recorder))
        }
    }

    fn finish(&mut self) -> Result<(), store::Error> {
        self.flush()?;
        let mut rest = self.ledger.rest().into_iter().peekable();
        while rest.peek().is_some() {
            let part: Vec<_> = rest.by_ref().take(BATCH).collect();
            self.perform(|ledger, recorder| ledger.keep_rest(part, recorder))?;
        }
        Ok(())
    }

    /// Does some work in one transaction; in a dry run, over a snapshot that is not written.
    fn perform(
        &mut self,
        work: impl FnOnce(&mut Ledger, &Recorder<'_>) -> Result<(), store::Error>,
    ) -> Result<(), store::Error> {
        let ledger = &mut self.ledger;
        if self.dry_run {
            self.tenant
                .read(|reader| work(ledger, &Recorder::DryRun(reader)))
        } else {
            self.tenant
                .write(|writer| work(ledger, &Recorder::Write(writer)))
        }
    }
}

impl Sink for Importer<'_> {
    type Error = store::Error;

    fn session(&mut self, session: &Session) -> Result<(), store::Error> {
        self.ledger.see_session(session);
        Ok(())
    }

    fn call(&mut self, call: ToolMetric, agent: Option<AgentId>) -> Result<(), store::Error> {
        self.see(Sighted::Call(Box::new(call), agent))
    }

    fn result(&mut self, result: LateResult) -> Result<(), store::Error> {
        self.see(Sighted::Result(result))
    }

    fn agent(
        &mut self,
        session: SessionId,
        agent: AgentId,
        call: CallId,
    ) -> Result<(), store::Error> {
        self.ledger.see_agent(session, agent, call);
        Ok(())
    }
}
