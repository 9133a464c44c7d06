//! Why a statement was refused, and why one that was not failed.

use millpond_sync::fault::RemoteError;

use crate::domain::InvalidValue;
use crate::store;

/// Why a statement was refused before anything ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is longer than a statement may be.
    #[error("it is too long (at most {max})")]
    Long {
        /// The limit that it exceeds.
        max: usize,
    },
    /// It is no SQL.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is more than one statement.
    #[error("it is more than one statement")]
    Several,
    /// It is none of SELECT, INSERT, UPDATE and DELETE.
    #[error("only one SELECT, INSERT, UPDATE or DELETE is taken")]
    Kind,
    /// It holds a token that is not taken.
    #[error("it holds {0}, which is not taken here")]
    Token(String),
    /// It holds something that is not taken.
    #[error("it holds {0}")]
    Shape(&'static str),
    /// It names a table that is not there for it.
    #[error("{0} is not a table of this context")]
    Table(String),
    /// It calls a function that is not taken.
    #[error("the function {0} is not taken here")]
    Function(String),
    /// It writes a column that Millpond keeps itself.
    #[error("the column {0} is kept by Millpond")]
    Column(String),
    /// It names a parameter that is none.
    #[error("{0} is not a parameter: they are $1, $2, … up to $999")]
    Parameter(String),
    /// It names another number of parameters than were given.
    #[error("it names {named} parameters, and {given} were given")]
    Parameters {
        /// The highest number that it names.
        named: usize,
        /// How many values came with it.
        given: usize,
    },
}

/// A failure of the legacy interface.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The statement was refused before anything ran.
    #[error("the statement was refused: {0}")]
    Refused(#[from] Refusal),
    /// The row has no such column.
    #[error("the row has no column {column}; it has {}", columns.join(", "))]
    NoColumn {
        /// The column that was asked for.
        column: String,
        /// Those that there are.
        columns: Vec<String>,
    },
    /// Two columns of the row have this name.
    #[error("two columns of the row are called {column}: name them apart with AS")]
    AmbiguousColumn {
        /// The name.
        column: String,
    },
    /// The column's value is of another type than was asked for.
    #[error("column {column} holds {found}, not {wanted}")]
    WrongType {
        /// The column.
        column: String,
        /// What was asked for.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A parameter cannot be sent.
    #[error("parameter ${number}: {source}")]
    Parameter {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidValue,
    },
    /// There is no such tenant, or its central schema is older than programs need (`millpond central migrate`).
    #[error("there is no tenant {id} here that a program can work in")]
    NoTenant {
        /// Its id.
        id: String,
    },
    /// The login may not work in this context.
    #[error("this login may not work here as a program: {hint}")]
    NotAllowed {
        /// What the administrator can do.
        hint: &'static str,
        /// What the server says.
        #[source]
        source: RemoteError,
    },
    /// More rows than one answer may have.
    #[error("the statement returns more than {max} rows: add a LIMIT")]
    TooManyRows {
        /// The limit.
        max: usize,
    },
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The central database failed.
    #[error(transparent)]
    Central(#[from] RemoteError),
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] crate::config::ConfigError),
    /// The work was given up by the runtime, or panicked.
    #[error("the local work did not end")]
    Work {
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// A stable name of the kind, for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::NoColumn { .. } | Self::AmbiguousColumn { .. } => "column",
            Self::WrongType { .. } => "type",
            Self::Parameter { .. } => "parameter",
            Self::NoTenant { .. } => "not_found",
            Self::NotAllowed { .. } => "permission",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::Store(error) => error.kind(),
            Self::Central(error) => match error.sqlstate.as_deref() {
                Some("23505") => "unique_violation",
                Some("23503") => "foreign_key",
                Some("23502" | "23514") => "check",
                Some("57014") => "timed_out",
                _ => "central",
            },
            Self::Settings(_) => "configuration",
            Self::Work { .. } => "work",
        }
    }
}
