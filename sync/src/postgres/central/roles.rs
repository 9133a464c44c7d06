//! Roles and their memberships.
//!
//! Purpose: makes roles and grants them by the rules of PostgreSQL 15 and of 16 and later. Invariants: a role that
//! exists is left as it is; from 16 on a device can use its roles but not become one of them (`SET FALSE`).

use tokio_postgres::types::Type;

use uuid::Uuid;

use super::super::names::{PROGRAM, program_role, quote_ident};
use super::{Central, CentralError, one, value};

/// From this version on a membership says whether SET ROLE and inheritance come with it.
const MEMBERSHIP_OPTIONS: i32 = 16;

impl Central {
    /// Makes a role unless it exists. `attributes` is SQL of ours.
    pub(super) async fn ensure_role(
        &self,
        role: &str,
        attributes: &str,
    ) -> Result<(), CentralError> {
        const ACTION: &str = "make a role";
        let sql = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1";
        if !self
            .connection
            .query(ACTION, sql, &[(&role, Type::TEXT)])
            .await?
            .is_empty()
        {
            return Ok(());
        }
        let sql = format!("CREATE ROLE {} {attributes}", quote_ident(role));
        match self.connection.batch(ACTION, &sql).await {
            // Roles belong to the whole cluster: another database's admin was faster.
            Err(error) if matches!(error.sqlstate.as_deref(), Some("42710" | "23505")) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Makes this login a full member of a role that it must act as. A superuser needs no membership.
    pub(super) async fn ensure_own_membership(&self, role: &str) -> Result<(), CentralError> {
        const ACTION: &str = "join a role";
        if self.server.superuser {
            return Ok(());
        }
        let sql = "SELECT pg_catalog.pg_has_role(current_user, $1, 'USAGE')";
        let rows = self
            .connection
            .query(ACTION, sql, &[(&role, Type::TEXT)])
            .await?;
        if value::<bool>(&one(ACTION, rows)?, 0)? {
            return Ok(());
        }
        let options = if self.server.major >= MEMBERSHIP_OPTIONS {
            " WITH INHERIT TRUE, SET TRUE"
        } else {
            ""
        };
        let sql = format!("GRANT {} TO CURRENT_USER{options}", quote_ident(role));
        Ok(self.connection.batch(ACTION, &sql).await?)
    }

    /// Makes the role that all program roles are members of.
    pub(super) async fn ensure_program_roles(&self) -> Result<(), CentralError> {
        self.ensure_role(PROGRAM, "NOLOGIN").await
    }

    /// Makes the role that programs work as in a tenant, and lets this login become it.
    pub(super) async fn ensure_program_role(&self, tenant: Uuid) -> Result<(), CentralError> {
        self.ensure_program_roles().await?;
        let role = program_role(tenant);
        self.ensure_role(&role, "NOLOGIN").await?;
        self.grant_role(PROGRAM, &role).await?;
        self.ensure_own_membership(&role).await
    }

    /// Lets `member` use what `role` may do.
    pub(super) async fn grant_role(&self, role: &str, member: &str) -> Result<(), CentralError> {
        let options = if self.server.major >= MEMBERSHIP_OPTIONS {
            " WITH INHERIT TRUE, SET FALSE"
        } else {
            ""
        };
        let sql = format!(
            "GRANT {} TO {}{options}",
            quote_ident(role),
            quote_ident(member)
        );
        Ok(self.connection.batch("grant a role", &sql).await?)
    }

    /// Takes every membership from a role.
    pub(super) async fn revoke_all_roles(&self, member: &str) -> Result<(), CentralError> {
        const ACTION: &str = "revoke a role";
        let sql = "SELECT pg_get_userbyid(roleid)::text, pg_get_userbyid(grantor)::text \
                   FROM pg_catalog.pg_auth_members \
                   WHERE member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)";
        for row in self
            .connection
            .query(ACTION, sql, &[(&member, Type::TEXT)])
            .await?
        {
            let (role, grantor): (String, String) = (value(&row, 0)?, value(&row, 1)?);
            let by = if self.server.major >= MEMBERSHIP_OPTIONS {
                format!(" GRANTED BY {}", quote_ident(&grantor))
            } else {
                String::new()
            };
            let sql = format!(
                "REVOKE {} FROM {}{by}",
                quote_ident(&role),
                quote_ident(member)
            );
            self.connection.batch(ACTION, &sql).await?;
        }
        Ok(())
    }
}
