//! A tenant's users.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row, ToSql, params};

use super::columns::{named, some_time, text};
use super::error::{self, Error};
use super::tenant::{Reader, Writer};
use crate::domain::ids::UserId;
use crate::domain::user::{CentralUser, Email, NewUser, PersonName, Role, User, ZoneName};

const COLUMNS: &str =
    "id, email, first_name, last_name, role, timezone, is_active, created_at, updated_at";

/// The key of the user that work is recorded for unless another is named.
const DEFAULT_USER: &str = "default_user";

/// Reads users.
#[derive(Debug)]
pub struct Users<'r> {
    reader: &'r Reader<'r>,
}

/// Writes users.
#[derive(Debug)]
pub struct UsersMut<'w> {
    users: Users<'w>,
    writer: &'w Writer<'w>,
}

impl<'c> Reader<'c> {
    /// The tenant's users.
    #[must_use]
    pub fn users(&'c self) -> Users<'c> {
        Users { reader: self }
    }
}

impl<'c> Writer<'c> {
    /// The tenant's users, to write.
    #[must_use]
    pub fn users(&'c self) -> UsersMut<'c> {
        UsersMut {
            users: Users { reader: self },
            writer: self,
        }
    }
}

impl<'w> Deref for UsersMut<'w> {
    type Target = Users<'w>;

    fn deref(&self) -> &Self::Target {
        &self.users
    }
}

impl Users<'_> {
    /// Every user that is not deleted, by email.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(&self) -> Result<Vec<User>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE deleted_at IS NULL ORDER BY email");
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([], from_row)?.collect())
            .map_err(error::query("list users"))
    }

    /// The user with that email.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub fn find_by_email(&self, email: &Email) -> Result<User, Error> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE email = ?1 AND deleted_at IS NULL");
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([email.as_str()], from_row).optional())
            .map_err(error::query("find a user"))?
            .ok_or_else(|| Error::not_found("user", email))
    }

    /// The user that work is recorded for unless another is named: the one chosen by [`UsersMut::set_default`], or
    /// the only one there is.
    ///
    /// # Errors
    /// [`Error::NotFound`] where none was chosen and there is none or several.
    pub fn default(&self) -> Result<User, Error> {
        if let Some(id) = self.reader.meta(DEFAULT_USER)? {
            let chosen = self
                .list()?
                .into_iter()
                .find(|user| user.id.to_string() == id);
            return chosen.ok_or_else(|| Error::not_found("default user", &id));
        }
        let mut users = self.list()?;
        match (users.pop(), users.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Error::not_found("default user", &"in this tenant")),
        }
    }
}

impl UsersMut<'_> {
    /// Adds a user.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where the email or id is taken.
    pub fn insert(&self, new: &NewUser) -> Result<User, Error> {
        let now = self.writer.now().as_micros();
        self.writer
            .connection()
            .prepare_cached(
                "INSERT INTO users (id, email, first_name, last_name, role, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    new.id.as_uuid(),
                    new.email.as_str(),
                    new.first_name.as_ref().map(PersonName::as_str),
                    new.last_name.as_ref().map(PersonName::as_str),
                    new.role.as_str(),
                    now,
                ])
            })
            .map_err(error::query("add a user"))?;
        self.find_by_email(&new.email)
    }

    /// Sets the time zone that the user's days are cut in.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user.
    pub fn set_timezone(&self, email: &Email, zone: &ZoneName) -> Result<(), Error> {
        let now = self.writer.now().as_micros();
        let params: [&dyn ToSql; 3] = [&email.as_str(), &zone.as_str(), &now];
        let changed = self
            .writer
            .connection()
            .prepare_cached(
                "UPDATE users SET timezone = ?2, updated_at = ?3, rev = rev + 1
                 WHERE email = ?1 AND deleted_at IS NULL",
            )
            .and_then(|mut update| update.execute(params))
            .map_err(error::query("set a user's time zone"))?;
        if changed == 0 {
            return Err(Error::not_found("user", email));
        }
        Ok(())
    }

    /// Follows what the central database says of a user that it knows by this id; true if anything changed. A user
    /// who is not here is left out: enrolment brings users.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where another user has the address.
    pub fn follow(&self, central: &CentralUser) -> Result<bool, Error> {
        self.writer
            .connection()
            .prepare_cached(
                "UPDATE users SET email = ?2, first_name = ?3, last_name = ?4, role = ?5, timezone = ?6,
                        is_active = ?7, updated_at = ?8, rev = rev + 1
                 WHERE id = ?1 AND (email IS NOT ?2 OR first_name IS NOT ?3 OR last_name IS NOT ?4
                                    OR role IS NOT ?5 OR timezone IS NOT ?6 OR is_active IS NOT ?7)",
            )
            .and_then(|mut update| {
                update.execute(params![
                    central.id.as_uuid(),
                    central.email.as_str(),
                    central.first_name.as_ref().map(PersonName::as_str),
                    central.last_name.as_ref().map(PersonName::as_str),
                    central.role.as_str(),
                    central.timezone.as_str(),
                    central.is_active,
                    self.writer.now().as_micros(),
                ])
            })
            .map(|changed| changed == 1)
            .map_err(error::query("follow the central database's users"))
    }

    /// Gives the users of these ids these addresses; whoever is not here is left out. Two may exchange theirs.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where another user has an address.
    pub(super) fn readdress(&self, users: &[(UserId, &str)]) -> Result<(), Error> {
        let now = self.writer.now().as_micros();
        let changing: Vec<(UserId, &str)> = {
            let here = self.list()?;
            users
                .iter()
                .copied()
                .filter(|(id, email)| {
                    here.iter()
                        .any(|user| user.id == *id && user.email.as_str() != *email)
                })
                .collect()
        };
        let connection = self.writer.connection();
        // No address has a space: what is given up meanwhile is nobody's.
        for (id, _) in &changing {
            connection
                .execute(
                    "UPDATE users SET email = ' ' || hex(id) WHERE id = ?1",
                    [id.as_uuid()],
                )
                .map_err(error::query("change a user's address"))?;
        }
        for (id, email) in &changing {
            connection
                .execute(
                    "UPDATE users SET email = ?2, updated_at = ?3, rev = rev + 1 WHERE id = ?1",
                    params![id.as_uuid(), email, now],
                )
                .map_err(error::query("change a user's address"))?;
        }
        Ok(())
    }

    /// Chooses the user that work is recorded for unless another is named.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user.
    pub fn set_default(&self, email: &Email) -> Result<(), Error> {
        self.set_default_id(self.find_by_email(email)?.id)
    }

    /// Chooses a user who is known to be there.
    pub(super) fn set_default_id(&self, id: UserId) -> Result<(), Error> {
        self.writer.set_meta(DEFAULT_USER, &id.to_string())
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: UserId::from_uuid(row.get(0)?),
        email: named(row, 1, Email::parse)?,
        first_name: text(row, 2)?,
        last_name: text(row, 3)?,
        role: named(row, 4, Role::parse)?,
        timezone: row.get(5)?,
        is_active: row.get(6)?,
        created_at: some_time(row, 7)?,
        updated_at: some_time(row, 8)?,
    })
}
