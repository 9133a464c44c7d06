//! What the server's catalogue says of one schema, in words that are the same for every tenant.
//!
//! Purpose: compare a live schema with a replay. Invariants: the names of the tenant, its schema, its writer role and
//! the owner are replaced by what stands for them in the migrations; rights are those of each role, whoever gave
//! them; definitions are the server's own wording, so that only servers of one major version can be compared.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use super::super::connect::Connection;
use super::super::schema::Names;
use super::{CentralError, value};

/// A kind of object and its name, and the server's definition of it.
pub(super) type Catalogue = BTreeMap<(String, String), String>;

/// How an object of a schema differs from what the migrations make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `schema`, `table`, `column`, `constraint`, `index`, `policy`, `trigger`, `function` or `type`.
    pub object: String,
    /// Its name, with its table's before it.
    pub name: String,
    /// What the migrations make; `None` where they make nothing of that name.
    pub expected: Option<String>,
    /// What is there; `None` where nothing is.
    pub live: Option<String>,
}

/// A role's name, by the SQL of its oid.
fn role(oid: &str) -> String {
    format!(
        "CASE WHEN {oid} = 0 THEN 'PUBLIC' WHEN pg_get_userbyid({oid}) = $2 THEN '{{{{owner}}}}' \
         ELSE pg_get_userbyid({oid})::text END"
    )
}

/// All rights on an object, by the SQL of its access list.
fn rights(acl: &str) -> String {
    let grantee = role("a.grantee");
    let right = format!(
        "{grantee} || ':' || a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END"
    );
    format!(
        "coalesce((SELECT string_agg({right}, ' ' ORDER BY {right}) FROM aclexplode({acl}) a), '')"
    )
}

fn sql() -> String {
    let (schema_owner, schema_rights) = (
        role("n.nspowner"),
        rights("coalesce(n.nspacl, acldefault('n', n.nspowner))"),
    );
    let (owner, table_rights) = (
        role("c.relowner"),
        rights("coalesce(c.relacl, acldefault('r', c.relowner))"),
    );
    let column_rights = rights("a0.attacl");
    let policy_role = role("p.oid_of");
    let (function_owner, function_rights) = (
        role("f.proowner"),
        rights("coalesce(f.proacl, acldefault('f', f.proowner))"),
    );
    // Since PostgreSQL 18 NOT NULL is a constraint too (contype n): the column tells it.
    format!(
        r"
    SELECT 'schema', '', 'owner ' || {schema_owner} || ' rights ' || {schema_rights}
      FROM pg_namespace n WHERE n.nspname = $1
    UNION ALL
    SELECT 'table', c.relname::text,
           concat_ws(' ', 'kind', c.relkind, c.relpersistence, 'owner', {owner},
                     'row security', c.relrowsecurity, 'forced', c.relforcerowsecurity, c.reloptions::text,
                     CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, 'rights', {table_rights})
      FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'column', c.relname || '.' || a0.attname,
           concat_ws(' ', format_type(a0.atttypid, a0.atttypmod),
                     CASE WHEN a0.attnotnull THEN 'NOT NULL' END,
                     'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), nullif(a0.attidentity::text, ''),
                     nullif(a0.attgenerated::text, ''), 'rights ' || nullif({column_rights}, ''))
      FROM pg_class c JOIN pg_attribute a0 ON a0.attrelid = c.oid AND a0.attnum > 0 AND NOT a0.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a0.attnum
     WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT 'constraint', c.relname || '.' || k.conname,
           pg_get_constraintdef(k.oid)
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE k.connamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND k.contype <> 'n'
    UNION ALL
    SELECT 'index', c.relname::text, concat_ws(' ', pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END)
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
    UNION ALL
    SELECT 'policy', c.relname || '.' || y.polname,
           concat_ws(' ', CASE WHEN y.polpermissive THEN 'permissive' ELSE 'restrictive' END, y.polcmd, 'to',
                     (SELECT string_agg({policy_role}, ' ' ORDER BY {policy_role}) FROM unnest(y.polroles) p (oid_of)),
                     'using ' || pg_get_expr(y.polqual, y.polrelid), 'check ' || pg_get_expr(y.polwithcheck, y.polrelid))
      FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
    UNION ALL
    SELECT 'trigger', c.relname || '.' || g.tgname, pg_get_triggerdef(g.oid) || ' enabled ' || g.tgenabled::text
      FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
     WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND NOT g.tgisinternal
    UNION ALL
    SELECT 'function', f.proname || '(' || pg_get_function_identity_arguments(f.oid) || ')',
           concat_ws(' ', CASE WHEN f.prokind <> 'a' THEN pg_get_functiondef(f.oid) END,
                     'owner', {function_owner}, 'rights', {function_rights})
      FROM pg_proc f WHERE f.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
    UNION ALL
    SELECT 'type', t.typname::text, t.typtype::text
      FROM pg_type t WHERE t.typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND t.typtype IN ('d', 'e', 'r')"
    )
}

/// Reads one schema, inside a transaction that the caller has begun and will roll back.
pub(super) async fn read(
    connection: &Connection,
    names: &Names,
) -> Result<Catalogue, CentralError> {
    const ACTION: &str = "read a schema's catalogue";
    // What is on the search path is named without its schema.
    connection
        .batch(ACTION, "SET LOCAL search_path = pg_catalog")
        .await?;
    let rows = connection
        .query(
            ACTION,
            &sql(),
            &[(&names.schema, Type::TEXT), (&names.owner, Type::TEXT)],
        )
        .await?;
    let id = names.tenant.to_string();
    let short = names.tenant.simple().to_string();
    rows.iter()
        .map(|row| {
            let (kind, name, definition): (String, String, String) =
                (value(row, 0)?, value(row, 1)?, value(row, 2)?);
            let definition = definition
                .replace(&id, "{{tenant_id}}")
                .replace(&short, "{{id}}");
            Ok(((kind, name), definition))
        })
        .collect()
}

/// What differs between what the migrations make and what is there, by kind and name.
pub(super) fn compare(expected: &Catalogue, live: &Catalogue) -> Vec<Difference> {
    let mut all: Vec<_> = expected.keys().chain(live.keys()).collect();
    all.sort();
    all.dedup();
    all.into_iter()
        .filter(|key| expected.get(*key) != live.get(*key))
        .map(|key| Difference {
            object: key.0.clone(),
            name: key.1.clone(),
            expected: expected.get(key).cloned(),
            live: live.get(key).cloned(),
        })
        .collect()
}
