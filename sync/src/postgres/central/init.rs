//! Sets the central database up.
//!
//! Purpose: the owner role, the control schema, and no right for PUBLIC. Invariants: again changes nothing; one admin
//! at a time in a database, the others wait.

use super::super::names::{DEVICE, OWNER, PROGRAM, REGISTRY, quote_ident};
use super::super::schema::{CONTROL_SCHEMA, migrate_control};
use super::{ADMIN_LIMIT, Central, CentralError, OpenDoor};
use crate::postgres::connect::{Connection, connect};

impl Central {
    /// Sets the database up, or finds it set up, and returns what stayed open to everyone.
    ///
    /// # Errors
    /// [`CentralError::Remote`] with SQLSTATE 42501 where the login neither is a superuser nor owns the database
    /// and has CREATEROLE; [`CentralError::Migration`] where the control schema cannot be made.
    pub async fn init(&self) -> Result<Vec<OpenDoor>, CentralError> {
        let _turn = self.wait_for_turn().await?;
        // LOGIN without a password: the role can be named as the owner of distributed schemas, and nobody can use it.
        self.ensure_role(OWNER, "LOGIN").await?;
        self.ensure_role(DEVICE, "NOLOGIN").await?;
        self.ensure_own_membership(OWNER).await?;
        self.ensure_program_roles().await?;
        self.ensure_role(REGISTRY, "NOLOGIN").await?;
        self.ensure_own_membership(REGISTRY).await?;
        self.open_for(OWNER, DEVICE).await?;
        self.open_list_for(&[PROGRAM, REGISTRY]).await?;
        let sql = format!(
            "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}",
            quote_ident(CONTROL_SCHEMA),
            quote_ident(OWNER)
        );
        self.connection
            .batch("make the control schema", &sql)
            .await?;
        migrate_control(&self.endpoint).await?;
        self.close_doors().await
    }

    /// Waits until no other admin is setting this database up, and keeps others waiting until the connection is
    /// dropped.
    ///
    /// A schema that is made and never committed: its name is taken for everyone else until the transaction ends. It
    /// wants the right that a set-up needs anyway; an advisory lock is refused to all but superusers once its doors
    /// are shut, and a fresh database has no table of ours to lock.
    async fn wait_for_turn(&self) -> Result<Connection, CentralError> {
        let connection = connect(&self.endpoint, ADMIN_LIMIT).await?;
        connection
            .batch(
                "wait for another administrator",
                "BEGIN; CREATE SCHEMA millpond_setup",
            )
            .await?;
        Ok(connection)
    }
}
