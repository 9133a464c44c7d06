//! Sets the central database up.
//!
//! Purpose: the owner role, the control schema, and no right for PUBLIC. Invariant: again changes nothing.

use super::super::names::{DEVICE, OWNER, quote_ident};
use super::super::schema::{CONTROL_SCHEMA, migrate_control};
use super::{Central, CentralError, OpenDoor};

impl Central {
    /// Sets the database up, or finds it set up, and returns what stayed open to everyone.
    ///
    /// # Errors
    /// [`CentralError::Remote`] with SQLSTATE 42501 where the login neither is a superuser nor owns the database
    /// and has CREATEROLE; [`CentralError::Migration`] where the control schema cannot be made.
    pub async fn init(&self) -> Result<Vec<OpenDoor>, CentralError> {
        // LOGIN without a password: the role can be named as the owner of distributed schemas, and nobody can use it.
        self.ensure_role(OWNER, "LOGIN").await?;
        self.ensure_role(DEVICE, "NOLOGIN").await?;
        self.ensure_own_membership(OWNER).await?;
        self.open_for(OWNER, DEVICE).await?;
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
}
