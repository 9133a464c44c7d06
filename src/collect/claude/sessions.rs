//! The sessions of one transcript, as far as they have been seen.
//!
//! Depends on `domain`. Invariants: at most [`MAX_OPEN_SESSIONS`]; a session without a message is none.

use std::collections::HashMap;

use crate::domain::ids::SessionId;
use crate::domain::session::{Session, SourceId};
use crate::domain::units::Timestamp;

use super::{MAX_OPEN_SESSIONS, Origin, project_of};

/// A session of the file.
pub(super) struct OpenSession {
    pub(super) session: Session,
    pub(super) has_message: bool,
    pub(super) is_given: bool,
}

/// The sessions, by their ids and by their own names.
#[derive(Default)]
pub(super) struct Sessions {
    names: HashMap<String, SessionId>,
    open: HashMap<SessionId, OpenSession>,
}

impl Sessions {
    /// Whether a session of that name would be one too many.
    pub(super) fn is_full_for(&self, name: &str) -> bool {
        self.open.len() >= MAX_OPEN_SESSIONS && !self.names.contains_key(name)
    }

    /// Widens the session of that name to a time, or begins it; `None` if the name cannot be one.
    pub(super) fn see(
        &mut self,
        origin: &Origin,
        name: &str,
        at: Timestamp,
        cwd: Option<&str>,
    ) -> Option<SessionId> {
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => self.begin(origin, name, at)?,
        };
        let session = &mut self.open.get_mut(&id)?.session;
        session.session_start = session.session_start.min(at);
        session.session_end = session.session_end.max(Some(at));
        session.end_inferred = true;
        if session.project_id.is_none() {
            session.project_id = cwd.and_then(project_of);
        }
        Some(id)
    }

    fn begin(&mut self, origin: &Origin, name: &str, at: Timestamp) -> Option<SessionId> {
        let source_id = SourceId::parse("session id", name).ok()?;
        let id = SessionId::derive(origin.user, &origin.source, Some(&source_id));
        let session = Session::begun(
            id,
            origin.user,
            origin.source.clone(),
            Some(source_id),
            origin.session_type.clone(),
            at,
            origin.now,
        );
        self.names.insert(name.to_owned(), id);
        self.open.insert(
            id,
            OpenSession {
                session,
                has_message: false,
                is_given: false,
            },
        );
        Some(id)
    }

    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut OpenSession> {
        self.open.get_mut(id)
    }

    /// Takes out all sessions, by start; those without a message are dropped.
    pub(super) fn take(&mut self) -> Vec<Session> {
        self.names.clear();
        let open = self.open.drain().map(|(_, open)| open);
        let mut sessions: Vec<Session> = open
            .filter(|open| open.has_message)
            .map(|open| open.session)
            .collect();
        sessions.sort_unstable_by_key(|session| (session.session_start, session.id));
        sessions
    }
}
