//! Writing users.

use rusqlite::{OptionalExtension as _, ToSql, params};

use super::{DEFAULT_USER, UsersMut};
use crate::domain::ids::UserId;
use crate::domain::permission::{self, Action, Scope, Subject};
use crate::domain::user::{CentralUser, Email, NewUser, PersonName, SsoIdentity, User, ZoneName};
use crate::store::Sighting;
use crate::store::columns::{Life, json};
use crate::store::error::{self, Error};
use crate::store::rows::{Bulk, OnDuplicate};

impl UsersMut<'_> {
    /// Adds a user.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where the email or id is taken.
    pub fn insert(&self, new: &NewUser) -> Result<User, Error> {
        const ACTION: &str = "add a user";
        let now = self.writer.now().as_micros();
        self.may(Action::Write, new.id, ACTION)?;
        self.is_administered(None, ACTION)?;
        self.writer
            .rows(ACTION)?
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
            .map_err(error::query(ACTION))?;
        self.find_by_email(&new.email)
    }

    /// Adds a user, and keeps settled whose work is recorded: the first user is chosen; where the only one was the
    /// default without being chosen, it is chosen before there are two.
    ///
    /// # Errors
    /// Those of [`UsersMut::insert`].
    pub fn add(&self, new: &NewUser) -> Result<User, Error> {
        let before = self.list()?;
        let added = self.insert(new)?;
        if self.writer.meta(DEFAULT_USER)?.is_none() {
            match before.as_slice() {
                [] => self.set_default(&added.email)?,
                [only] => self.set_default(&only.email)?,
                _ => {}
            }
        }
        Ok(added)
    }

    /// Sets the time zone that the user's days are cut in.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user.
    pub fn set_timezone(&self, email: &Email, zone: &ZoneName) -> Result<(), Error> {
        let now = self.writer.now().as_micros();
        self.may(
            Action::Write,
            self.find_by_email(email)?.id,
            "set a user's time zone",
        )?;
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
    pub(in crate::store) fn readdress(&self, users: &[(UserId, &str)]) -> Result<(), Error> {
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
    pub(in crate::store) fn set_default_id(&self, id: UserId) -> Result<(), Error> {
        self.writer.set_meta(DEFAULT_USER, &id.to_string())
    }

    /// Makes the user of this id as given, except for `created_at` and what logging in counts.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user or it is deleted; [`Error::UniqueViolation`] where another user
    /// has the address or the identity; [`Error::Denied`] where who works here may not change users, or changes a
    /// role, an address, an identity or an activity without being an admin.
    pub fn update(&self, user: &User) -> Result<User, Error> {
        const ACTION: &str = "change a user";
        self.may(Action::Write, user.id, ACTION)?;
        self.is_administered(Some((&self.get(user.id)?, user)), ACTION)?;
        let preferences = json(&user.preferences).map_err(error::query(ACTION))?;
        self.writer
            .rows(ACTION)?
            .prepare_cached(
                "UPDATE users
                 SET email = ?2, first_name = ?3, last_name = ?4, role = ?5, timezone = ?6, is_active = ?7,
                     sso_provider = ?8, sso_user_id = ?9, preferences = ?10, updated_at = ?11, rev = rev + 1
                 WHERE id = ?1 AND deleted_at IS NULL",
            )
            .and_then(|mut update| {
                update.execute(params![
                    user.id.as_uuid(),
                    user.email.as_str(),
                    user.first_name.as_ref().map(PersonName::as_str),
                    user.last_name.as_ref().map(PersonName::as_str),
                    user.role.as_str(),
                    user.timezone.as_str(),
                    user.is_active,
                    user.sso.as_ref().map(|sso| sso.provider.as_str()),
                    user.sso.as_ref().map(|sso| sso.user_id.as_str()),
                    preferences,
                    self.writer.now().as_micros(),
                ])
            })
            .map_err(error::query(ACTION))?;
        self.get(user.id)
    }

    /// Adds the user, or gives the one of this id the address, names and role, bringing it back where it was deleted.
    ///
    /// # Errors
    /// Those of [`UsersMut::insert`] and [`UsersMut::update`].
    pub fn upsert(&self, new: &NewUser) -> Result<Sighting, Error> {
        let life = self.life(new.id)?;
        match life {
            None => {
                self.insert(new)?;
                return Ok(Sighting::Inserted);
            }
            Some(Life::Deleted) => self.restore(new.id)?,
            Some(Life::Present) => {}
        }
        let known = self.get(new.id)?;
        let user = User {
            email: new.email.clone(),
            first_name: new.first_name.clone(),
            last_name: new.last_name.clone(),
            role: new.role,
            ..known.clone()
        };
        if user != known {
            self.update(&user)?;
        } else if life == Some(Life::Present) {
            return Ok(Sighting::Unchanged);
        }
        Ok(Sighting::Raised)
    }

    /// Adds many users; the first error ends it, and the transaction's failure undoes all.
    ///
    /// # Errors
    /// Those of [`UsersMut::upsert`].
    pub fn insert_all<'u>(
        &self,
        users: impl IntoIterator<Item = &'u NewUser>,
        on_duplicate: OnDuplicate,
    ) -> Result<Bulk, Error> {
        let mut bulk = Bulk::default();
        for user in users {
            bulk.count(match on_duplicate {
                OnDuplicate::Update => self.upsert(user)?,
                OnDuplicate::Skip if self.life(user.id)?.is_some() => Sighting::Unchanged,
                OnDuplicate::Skip => self.insert(user).map(|_| Sighting::Inserted)?,
            });
        }
        Ok(bulk)
    }

    /// Counts a login, now; the user as it is afterwards. An inactive user cannot log in.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user or it is deleted; [`Error::Denied`] where it is inactive.
    pub fn record_login(&self, id: UserId) -> Result<User, Error> {
        const ACTION: &str = "log in";
        self.may(Action::Write, id, ACTION)?;
        if !self.get(id)?.is_active {
            return Err(Error::Denied {
                who: "an inactive user",
                action: ACTION,
            });
        }
        self.change(
            id,
            "UPDATE users SET last_login = ?2, login_count = login_count + 1, rev = rev + 1
             WHERE id = ?1 AND deleted_at IS NULL",
            ACTION,
        )?;
        self.get(id)
    }

    /// Notes how an identity provider knows a user, or forgets it.
    ///
    /// # Errors
    /// Those of [`UsersMut::update`].
    pub fn set_sso(&self, id: UserId, sso: Option<SsoIdentity>) -> Result<User, Error> {
        let known = self.get(id)?;
        self.update(&User { sso, ..known })
    }

    /// Lets a user work, or no longer.
    ///
    /// # Errors
    /// Those of [`UsersMut::update`].
    pub fn set_active(&self, id: UserId, is_active: bool) -> Result<User, Error> {
        let known = self.get(id)?;
        self.update(&User { is_active, ..known })
    }

    /// Deletes a user: readers no longer see it; its address stays taken, so that it can be restored, and its rows
    /// stay.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user or it is deleted; [`Error::Denied`].
    pub fn delete(&self, id: UserId) -> Result<(), Error> {
        const ACTION: &str = "delete a user";
        self.may(Action::Delete, id, ACTION)?;
        self.change(
            id,
            "UPDATE users SET deleted_at = ?2, updated_at = ?2, rev = rev + 1, digest = NULL
             WHERE id = ?1 AND deleted_at IS NULL",
            ACTION,
        )
    }

    /// Brings a deleted user back.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such deleted user; [`Error::Denied`].
    pub fn restore(&self, id: UserId) -> Result<(), Error> {
        const ACTION: &str = "restore a user";
        self.may(Action::Delete, id, ACTION)?;
        self.change(
            id,
            "UPDATE users SET deleted_at = NULL, updated_at = ?2, rev = rev + 1, digest = NULL
             WHERE id = ?1 AND deleted_at IS NOT NULL",
            ACTION,
        )
    }

    /// Runs an update of one user, `?1`, at the transaction's time, `?2`.
    fn change(&self, id: UserId, sql: &'static str, action: &'static str) -> Result<(), Error> {
        let (of, now) = (id.as_uuid(), self.writer.now().as_micros());
        let params: [&dyn ToSql; 2] = [&of, &now];
        let changed = self
            .writer
            .rows(action)?
            .prepare_cached(sql)
            .and_then(|mut update| update.execute(params))
            .map_err(error::query(action))?;
        if changed == 0 {
            return Err(Error::not_found("user", &id));
        }
        Ok(())
    }

    fn life(&self, id: UserId) -> Result<Option<Life>, Error> {
        self.writer
            .connection()
            .prepare_cached("SELECT deleted_at FROM users WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_uuid()], |row| row.get(0).map(Life::of))
                    .optional()
            })
            .map_err(error::query("look for a user"))
    }

    fn may(&self, action: Action, id: UserId, doing: &'static str) -> Result<(), Error> {
        self.reader.may(action, Subject::Users, id, doing)
    }

    /// Checks that what only an admin may change of a user stays; nobody else makes one either.
    fn is_administered(
        &self,
        change: Option<(&User, &User)>,
        doing: &'static str,
    ) -> Result<(), Error> {
        let administered = change.is_none_or(|(known, new)| {
            (known.role, &known.email, &known.sso, known.is_active)
                != (new.role, &new.email, &new.sso, new.is_active)
        });
        match self.reader.actor() {
            Some(actor)
                if administered
                    && permission::scope(actor.role, Action::Write, Subject::Users)
                        != Scope::All =>
            {
                Err(Error::Denied {
                    who: actor.role.in_words(),
                    action: doing,
                })
            }
            _ => Ok(()),
        }
    }
}
