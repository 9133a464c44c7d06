//! What PostgreSQL leaves open to everyone, closed as far as this login may, and read back.
//!
//! Purpose: the rights of PUBLIC that a device has no business with. Invariants: an attempt is never believed, since
//! a REVOKE by anyone but the owner only warns; what is still open afterwards is named, at `init` and at `status`.

use std::fmt;

use super::super::names::quote_ident;
use super::{Central, CentralError, value};

/// Every right of PUBLIC that should be none: on the database (CONNECT, TEMPORARY), on the schema `public`, on
/// trusted languages (DO), on large objects, advisory locks and messages into the log. Other databases of the server
/// are named, since a login can go there too, but left alone: they are somebody else's.
const OPEN: &str = r"
    SELECT 'database', quote_ident(d.datname), a.privilege_type
      FROM pg_catalog.pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
     WHERE d.datname = current_database() AND a.grantee = 0
    UNION ALL
    SELECT 'other database', quote_ident(d.datname), a.privilege_type
      FROM pg_catalog.pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
     WHERE d.datname <> current_database() AND d.datallowconn AND a.grantee = 0
       AND a.privilege_type = 'CONNECT'
    UNION ALL
    SELECT 'schema', quote_ident(n.nspname), a.privilege_type
      FROM pg_catalog.pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
     WHERE n.nspname = 'public' AND a.grantee = 0
    UNION ALL
    SELECT 'language', quote_ident(l.lanname), a.privilege_type
      FROM pg_catalog.pg_language l, aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) a
     WHERE l.lanpltrusted AND a.grantee = 0
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, a.privilege_type
      FROM pg_catalog.pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     WHERE p.pronamespace = 'pg_catalog'::regnamespace AND a.grantee = 0
       AND (p.proname ~ '^(lo_|loread$|lowrite$)' OR p.proname ~ '^pg_(try_)?advisory_'
            OR p.proname = 'pg_logical_emit_message')
    ORDER BY 1, 2, 3";

/// The kind of door that is named and left alone.
const OTHER_DATABASE: &str = "other database";

/// A right that everyone has and nobody should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDoor {
    /// `database`, `schema`, `language`, `function`, or `other database`.
    pub kind: String,
    /// Its name, quoted for SQL.
    pub name: String,
    /// The right, as `EXECUTE`.
    pub privilege: String,
}

impl fmt::Display for OpenDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} {}", self.privilege, self.kind, self.name)
    }
}

impl Central {
    /// The doors that are open now.
    pub(super) async fn open_doors(&self) -> Result<Vec<OpenDoor>, CentralError> {
        let rows = self
            .connection
            .query("read the rights of PUBLIC", OPEN, &[])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(OpenDoor {
                    kind: value(row, 0)?,
                    name: value(row, 1)?,
                    privilege: value(row, 2)?,
                })
            })
            .collect()
    }

    /// Closes what it can and returns what stayed open.
    pub(super) async fn close_doors(&self) -> Result<Vec<OpenDoor>, CentralError> {
        let ours = |door: &OpenDoor| door.kind != OTHER_DATABASE;
        for door in self.open_doors().await?.into_iter().filter(ours) {
            // All three parts come from the catalogue, the name quoted by the server.
            let sql = format!(
                "REVOKE {} ON {} {} FROM PUBLIC",
                door.privilege, door.kind, door.name
            );
            match self
                .connection
                .batch("revoke a right of PUBLIC", &sql)
                .await
            {
                // Refused: the door stays open, and is named below.
                Err(error) if error.sqlstate.as_deref() == Some("42501") => {}
                other => other?,
            }
        }
        self.open_doors().await
    }

    /// Lets roles find the list of tenants; what they see of it is a matter of its policies.
    pub(super) async fn open_list_for(&self, roles: &[&str]) -> Result<(), CentralError> {
        let roles: Vec<String> = roles.iter().map(|role| quote_ident(role)).collect();
        let sql = format!("GRANT USAGE ON SCHEMA public TO {}", roles.join(", "));
        Ok(self
            .connection
            .batch("grant the list of tenants", &sql)
            .await?)
    }

    /// Gives the owner role what it needs of what was just taken from everyone.
    pub(super) async fn open_for(&self, owner: &str, device: &str) -> Result<(), CentralError> {
        let database = quote_ident(self.endpoint.database());
        let (owner, device) = (quote_ident(owner), quote_ident(device));
        let sql = format!(
            "GRANT CONNECT, CREATE ON DATABASE {database} TO {owner}; \
             GRANT CONNECT ON DATABASE {database} TO {device}; \
             GRANT USAGE, CREATE ON SCHEMA public TO {owner}"
        );
        self.connection
            .batch("grant the owner its rights", &sql)
            .await?;
        // Where PUBLIC keeps the language, because it is another's to give, nothing is missing.
        let sql = format!("GRANT USAGE ON LANGUAGE plpgsql TO {owner}");
        match self
            .connection
            .batch("grant the owner its language", &sql)
            .await
        {
            Err(error) if error.sqlstate.as_deref() == Some("42501") => Ok(()),
            other => Ok(other?),
        }
    }
}
