//! Pulling: what the central database decides and a device follows.
//!
//! Purpose: the users that the device is enrolled for, as the administrator has them. Row-level security shows a
//! device no others. Depends on the connection and the schema's name alone.

use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::value;
use super::names::quote_ident;
use super::push::PostgresRemote;
use crate::fault::RemoteError;

const PULL: &str = "pull users";

/// A user as the central database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledUser {
    /// The id.
    pub id: Uuid,
    /// The address.
    pub email: String,
    /// The first name.
    pub first_name: Option<String>,
    /// The last name.
    pub last_name: Option<String>,
    /// The role: admin, manager, developer or viewer.
    pub role: String,
    /// The IANA time zone.
    pub timezone: String,
    /// Whether the user may work.
    pub is_active: bool,
}

impl PostgresRemote {
    /// The users that this device is enrolled for, by id.
    ///
    /// # Errors
    /// Classed by [`RemoteError::fault`]; the connection is made anew at the next call.
    pub async fn pull_users(&mut self) -> Result<Vec<PulledUser>, RemoteError> {
        let sql = format!(
            "SELECT id, email, first_name, last_name, role, timezone, is_active \
             FROM {}.users WHERE deleted_at IS NULL ORDER BY id",
            quote_ident(self.schema_name())
        );
        let connection = self.ready().await?;
        let rows = connection.query(PULL, &sql, &[]).await?;
        let users = rows.iter().map(from_row).collect();
        self.keep(connection);
        users
    }
}

fn from_row(row: &Row) -> Result<PulledUser, RemoteError> {
    Ok(PulledUser {
        id: value(PULL, row, 0)?,
        email: value(PULL, row, 1)?,
        first_name: value(PULL, row, 2)?,
        last_name: value(PULL, row, 3)?,
        role: value(PULL, row, 4)?,
        timezone: value(PULL, row, 5)?,
        is_active: value(PULL, row, 6)?,
    })
}
