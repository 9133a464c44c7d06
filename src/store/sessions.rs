//! A tenant's work sessions.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row};

use super::columns::{Life, some_text, some_time, text, time, unreadable};
use super::error::{self, Error};
use super::export::{Column, Kind};
use super::filter::{self, Conditions, Deleted, SearchText};
use super::page::{self, Cursor, Direction, NumberedPage, Page, PageRequest};
use super::tenant::{Reader, Writer};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::permission::Subject;
use crate::domain::session::{ProjectId, Score, Session, Source, Tag};
use crate::domain::units::{InvalidValue, Timestamp};

mod write;

const TABLE: &str = "metrics_sessions";

/// What a session's digest is made of, in this order. The rest of [`COLUMNS`] is `created_at`.
pub(super) const PAYLOAD: &str = "id, user_id, session_start, session_end, end_inferred, total_duration_ms, \
    tools_used, productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, \
    description, source, source_id, deleted_at";

const COLUMNS: &str = "id, user_id, session_start, session_end, end_inferred, \
    tools_used, productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, \
    description, source, source_id, created_at";

/// What an export of the table holds: see [`super::export`].
pub(super) const EXPORTED: &[Column] = &[
    ("id", Kind::Id),
    ("user_id", Kind::Id),
    ("session_start", Kind::Time),
    ("session_end", Kind::Time),
    ("end_inferred", Kind::Flag),
    ("total_duration_ms", Kind::Plain),
    ("tools_used", Kind::Json),
    ("productivity_score", Kind::Plain),
    ("session_type", Kind::Plain),
    ("project_id", Kind::Plain),
    ("tags", Kind::Json),
    ("interruptions_count", Kind::Plain),
    ("focus_time_ms", Kind::Plain),
    ("description", Kind::Plain),
    ("source", Kind::Plain),
    ("source_id", Kind::Plain),
    ("created_at", Kind::Time),
];

/// Which sessions are meant: those for which all of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of one user only.
    pub user: Option<UserId>,
    /// That began at this time or later.
    pub since: Option<Timestamp>,
    /// That began before this time.
    pub until: Option<Timestamp>,
    /// With this text, in letters of any case (ASCII), in description, project, a tag or the source's own id.
    pub text: Option<SearchText>,
    /// With all of these tags.
    pub tags: Vec<Tag>,
    /// Of one project only.
    pub project: Option<ProjectId>,
    /// Of one source only.
    pub source: Option<Source>,
    /// Whether deleted ones are among them.
    pub deleted: Deleted,
}

/// What numbered pages of sessions are ordered by; the id breaks ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionOrder {
    /// The start.
    #[default]
    Start,
    /// The end.
    End,
    /// The duration.
    Duration,
    /// The productivity score.
    Score,
    /// When this machine recorded it.
    Recorded,
}

impl SessionOrder {
    const fn column(self) -> &'static str {
        match self {
            Self::Start => "session_start",
            Self::End => "session_end",
            Self::Duration => "total_duration_ms",
            Self::Score => "productivity_score",
            Self::Recorded => "created_at",
        }
    }
}

/// The order of a list of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionSort {
    /// By start, the latest first.
    #[default]
    Newest,
    /// By start, the earliest first.
    Oldest,
}

/// Reads sessions.
#[derive(Debug)]
pub struct Sessions<'r> {
    reader: &'r Reader<'r>,
}

/// Writes sessions.
#[derive(Debug)]
pub struct SessionsMut<'w> {
    sessions: Sessions<'w>,
    writer: &'w Writer<'w>,
}

impl<'c> Reader<'c> {
    /// The tenant's sessions.
    #[must_use]
    pub fn sessions(&'c self) -> Sessions<'c> {
        Sessions { reader: self }
    }
}

impl<'c> Writer<'c> {
    /// The tenant's sessions, to write.
    #[must_use]
    pub fn sessions(&'c self) -> SessionsMut<'c> {
        SessionsMut {
            sessions: Sessions { reader: self },
            writer: self,
        }
    }
}

impl<'w> Deref for SessionsMut<'w> {
    type Target = Sessions<'w>;

    fn deref(&self) -> &Self::Target {
        &self.sessions
    }
}

impl Sessions<'_> {
    /// The session of that id, if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find(&self, id: SessionId) -> Result<Option<Session>, Error> {
        let readable = self.reader.readable(Subject::Sessions, "read sessions")?;
        let found = self.lookup(id)?;
        Ok(found.and_then(|(session, life)| {
            let seen = readable.is_none_or(|own| own == session.user_id);
            (life == Life::Present && seen).then_some(session)
        }))
    }

    fn lookup(&self, id: SessionId) -> Result<Option<(Session, Life)>, Error> {
        let sql = format!("SELECT {COLUMNS}, deleted_at FROM metrics_sessions WHERE id = ?1");
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_uuid()], |row| {
                        Ok((from_row(row)?, Life::of(row.get(16)?)))
                    })
                    .optional()
            })
            .map_err(error::query("find a session"))
    }

    /// How many sessions there are.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count(&self) -> Result<u64, Error> {
        self.count_matching(&SessionFilter::default())
    }

    /// A page of at most `limit` sessions (1 to 1,000) that match, after a cursor. [`Self::count_matching`] says how
    /// many there are in all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(
        &self,
        filter: &SessionFilter,
        sort: SessionSort,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page<Session>, Error> {
        let direction = match sort {
            SessionSort::Newest => Direction::Descending,
            SessionSort::Oldest => Direction::Ascending,
        };
        page::keyset(
            self.reader.connection(),
            (TABLE, COLUMNS, "session_start"),
            &self.conditions(filter)?,
            (direction, limit, after),
            "list sessions",
            from_row,
            |last| Cursor::new(last.session_start, last.id.as_uuid()),
        )
    }

    /// A numbered page of the sessions that match.
    ///
    /// ```
    /// # use millpond::store::{Direction, Error, PageRequest, SessionFilter, SessionOrder, TenantStore};
    /// # fn f(tenant: &TenantStore) -> Result<(), Error> {
    /// let request = PageRequest::new(2, 50)?;
    /// let longest = (SessionOrder::Duration, Direction::Descending);
    /// let page = tenant.read(|r| r.sessions().page(&SessionFilter::default(), longest, request))?;
    /// assert_eq!(page.meta.page, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn page(
        &self,
        filter: &SessionFilter,
        (order, direction): (SessionOrder, Direction),
        request: PageRequest,
    ) -> Result<NumberedPage<Session>, Error> {
        let (column, way) = (order.column(), direction.sql());
        page::numbered(
            self.reader.connection(),
            (TABLE, COLUMNS, &format!("{column} {way}, id {way}")),
            &self.conditions(filter)?,
            request,
            "list sessions",
            from_row,
        )
    }

    /// How many sessions match.
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn count_matching(&self, filter: &SessionFilter) -> Result<u64, Error> {
        let conditions = self.conditions(filter)?;
        page::count(
            self.reader.connection(),
            TABLE,
            &conditions,
            "count sessions",
        )
    }

    fn conditions(&self, filter: &SessionFilter) -> Result<Conditions, Error> {
        let own = self.reader.readable(Subject::Sessions, "list sessions")?;
        let mut all = Conditions::new(filter.deleted);
        for user in [own, filter.user] {
            all.and("user_id = {}", user.map(|user| filter::id(user.as_uuid())));
        }
        all.and(
            "session_start >= {}",
            filter.since.map(Timestamp::as_micros),
        );
        all.and("session_start < {}", filter.until.map(Timestamp::as_micros));
        all.and(
            "project_id = {}",
            filter.project.as_ref().map(ToString::to_string),
        );
        all.and(
            "source = {}",
            filter.source.as_ref().map(ToString::to_string),
        );
        for tag in &filter.tags {
            all.and(
                "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = {})",
                Some(tag.to_string()),
            );
        }
        all.and(
            "(description LIKE {} ESCAPE '\\' OR project_id LIKE {} ESCAPE '\\'
              OR source_id LIKE {} ESCAPE '\\'
              OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value LIKE {} ESCAPE '\\'))",
            filter.text.as_ref().map(filter::containing),
        );
        Ok(all)
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Session> {
    fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
        serde_json::from_str(row.get_ref(at)?.as_str()?)
            .map_err(|_| unreadable(at)(InvalidValue::new("list", "is no list of texts")))
    }
    let score = |raw: f64| Score::parse(raw).map_err(unreadable(6));
    Ok(Session {
        id: SessionId::from_uuid(row.get(0)?),
        user_id: UserId::from_uuid(row.get(1)?),
        session_start: some_time(row, 2)?,
        session_end: time(row, 3)?,
        end_inferred: row.get(4)?,
        tools_used: list(row, 5)?,
        productivity_score: row.get::<_, Option<f64>>(6)?.map(score).transpose()?,
        session_type: some_text(row, 7)?,
        project_id: text(row, 8)?,
        tags: list(row, 9)?,
        interruptions_count: row.get(10)?,
        focus_time_ms: row.get(11)?,
        description: text(row, 12)?,
        source: some_text(row, 13)?,
        source_id: text(row, 14)?,
        created_at: some_time(row, 15)?,
    })
}
