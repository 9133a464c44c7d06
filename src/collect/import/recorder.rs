//! The rows of one transaction: written, or in a dry run only read.

use crate::domain::ids::CallId;
use crate::domain::session::Session;
use crate::domain::tool_metric::ToolMetric;
use crate::store::{Error, Reader, Writer};

/// Where an import's rows go.
pub(super) enum Recorder<'t> {
    /// Into the tenant's file.
    Write(&'t Writer<'t>),
    /// Nowhere.
    DryRun(&'t Reader<'t>),
}

impl Recorder<'_> {
    pub(super) fn find_call(&self, id: CallId) -> Result<Option<ToolMetric>, Error> {
        match self {
            Self::Write(writer) => writer.tool_metrics().find(id),
            Self::DryRun(reader) => reader.tool_metrics().find(id),
        }
    }

    pub(super) fn session(&self, session: &Session) -> Result<(), Error> {
        match self {
            Self::Write(writer) => writer.sessions().record(session).map(drop),
            Self::DryRun(_) => Ok(()),
        }
    }

    pub(super) fn call(&self, call: &ToolMetric) -> Result<(), Error> {
        match self {
            Self::Write(writer) => writer.tool_metrics().record(call).map(drop),
            Self::DryRun(_) => Ok(()),
        }
    }
}
