//! A tenant's users.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row, params_from_iter};

use super::columns::{named, some_text, some_time, text, time};
use super::error::{self, Error};
use super::export::{Column, Kind};
use super::filter::{self, Conditions, Deleted, SearchText};
use super::page::{self, Direction, NumberedPage, PageRequest};
use super::tenant::{Reader, Writer};
use crate::domain::ids::UserId;
use crate::domain::json::JsonObject;
use crate::domain::permission::Subject;
use crate::domain::user::{Email, Role, SsoIdentity, User};

mod write;

const TABLE: &str = "users";

const COLUMNS: &str = "id, email, first_name, last_name, role, timezone, is_active, created_at, updated_at, \
    sso_provider, sso_user_id, last_login, login_count, preferences";

/// What an export of the table holds: see [`super::export`].
pub(super) const EXPORTED: &[Column] = &[
    ("id", Kind::Id),
    ("email", Kind::Plain),
    ("first_name", Kind::Plain),
    ("last_name", Kind::Plain),
    ("role", Kind::Plain),
    ("timezone", Kind::Plain),
    ("is_active", Kind::Flag),
    ("sso_provider", Kind::Plain),
    ("sso_user_id", Kind::Plain),
    ("last_login", Kind::Time),
    ("login_count", Kind::Plain),
    ("preferences", Kind::Json),
    ("created_at", Kind::Time),
    ("updated_at", Kind::Time),
];

/// Which users are meant: those for whom all of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// Of one role only.
    pub role: Option<Role>,
    /// Only active, or only inactive ones.
    pub active: Option<bool>,
    /// With this text, in letters of any case (ASCII), in the address or a name.
    pub text: Option<SearchText>,
    /// Whether deleted ones are among them.
    pub deleted: Deleted,
}

/// What pages of users are ordered by; the id breaks ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserOrder {
    /// The address.
    #[default]
    Email,
    /// The last name, then the first.
    Name,
    /// The last login.
    LastLogin,
    /// When the user was made here.
    Created,
}

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
        let conditions = self.conditions(&UserFilter::default())?;
        let sql = format!(
            "SELECT {COLUMNS} FROM users WHERE {} ORDER BY email",
            conditions.sql()
        );
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(conditions.values()), from_row)?
                    .collect()
            })
            .map_err(error::query("list users"))
    }

    /// A numbered page of the users that match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn page(
        &self,
        filter: &UserFilter,
        (order, direction): (UserOrder, Direction),
        request: PageRequest,
    ) -> Result<NumberedPage<User>, Error> {
        let way = direction.sql();
        let order = match order {
            UserOrder::Email => format!("email {way}"),
            UserOrder::Name => format!("last_name {way}, first_name {way}, id {way}"),
            UserOrder::LastLogin => format!("last_login {way}, id {way}"),
            UserOrder::Created => format!("created_at {way}, id {way}"),
        };
        page::numbered(
            self.reader.connection(),
            (TABLE, COLUMNS, &order),
            &self.conditions(filter)?,
            request,
            "list users",
            from_row,
        )
    }

    /// How many users match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_matching(&self, filter: &UserFilter) -> Result<u64, Error> {
        let conditions = self.conditions(filter)?;
        page::count(self.reader.connection(), TABLE, &conditions, "count users")
    }

    /// The user of that id.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, or it is deleted.
    pub fn get(&self, id: UserId) -> Result<User, Error> {
        let mut of = self.conditions(&UserFilter::default())?;
        of.and("id = {}", Some(filter::id(id.as_uuid())));
        self.one(&of)?.ok_or_else(|| Error::not_found("user", &id))
    }

    /// The user with that email.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, or it is deleted.
    pub fn find_by_email(&self, email: &Email) -> Result<User, Error> {
        let mut of = self.conditions(&UserFilter::default())?;
        of.and("email = {}", Some(email.to_string()));
        self.one(&of)?
            .ok_or_else(|| Error::not_found("user", email))
    }

    /// The user whom an identity provider knows so.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, or it is deleted.
    pub fn find_by_sso(&self, identity: &SsoIdentity) -> Result<User, Error> {
        let mut of = self.conditions(&UserFilter::default())?;
        of.and("sso_provider = {}", Some(identity.provider.to_string()));
        of.and("sso_user_id = {}", Some(identity.user_id.to_string()));
        self.one(&of)?
            .ok_or_else(|| Error::not_found("user", &identity.user_id))
    }

    fn one(&self, conditions: &Conditions) -> Result<Option<User>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE {}", conditions.sql());
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_row(params_from_iter(conditions.values()), from_row)
                    .optional()
            })
            .map_err(error::query("find a user"))
    }

    fn conditions(&self, filter: &UserFilter) -> Result<Conditions, Error> {
        let own = self.reader.readable(Subject::Users, "list users")?;
        let mut all = Conditions::new(filter.deleted);
        all.and("id = {}", own.map(|own| filter::id(own.as_uuid())));
        all.and(
            "role = {}",
            filter.role.map(|role| role.as_str().to_owned()),
        );
        all.and("is_active = {}", filter.active);
        all.and(
            "(email LIKE {} ESCAPE '\\' OR first_name LIKE {} ESCAPE '\\' OR last_name LIKE {} ESCAPE '\\')",
            filter.text.as_ref().map(filter::containing),
        );
        Ok(all)
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

fn from_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: UserId::from_uuid(row.get(0)?),
        email: named(row, 1, Email::parse)?,
        first_name: text(row, 2)?,
        last_name: text(row, 3)?,
        role: named(row, 4, Role::parse)?,
        timezone: some_text(row, 5)?,
        is_active: row.get(6)?,
        created_at: some_time(row, 7)?,
        updated_at: some_time(row, 8)?,
        sso: text(row, 9)?
            .zip(text(row, 10)?)
            .map(|(provider, user_id)| SsoIdentity { provider, user_id }),
        last_login: time(row, 11)?,
        login_count: row.get(12)?,
        preferences: named(row, 13, |raw| JsonObject::parse("preferences", raw))?,
    })
}
