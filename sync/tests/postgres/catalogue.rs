//! What the catalogue says of the schema that the migrations make.

use std::collections::BTreeSet;

use millpond_sync::change::{Kind, Table};
use tokio_postgres::Client;

use crate::support::{Database, enroll, rows};

async fn names(client: &Client, sql: &str) -> BTreeSet<String> {
    rows(client, sql)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_columns_that_travel_are_those_of_the_central_tables() {
    let (database, _central, tenant) = Database::with_tenant().await;
    let client = database.superuser().await;
    for table in Table::ALL {
        let sql = format!(
            "SELECT column_name || ' ' || data_type FROM information_schema.columns \
             WHERE table_schema = '{}' AND table_name = '{}'",
            tenant.schema_name,
            table.name()
        );
        let mut expected: BTreeSet<String> = table
            .columns()
            .iter()
            .map(|column| {
                let kind = match column.kind {
                    Kind::Uuid => "uuid",
                    Kind::Text => "text",
                    Kind::BigInt => "bigint",
                    Kind::Double => "double precision",
                    Kind::Boolean => "boolean",
                    Kind::Timestamp => "timestamp with time zone",
                    Kind::Json => "jsonb",
                };
                format!("{} {kind}", column.name)
            })
            .collect();
        expected.extend(set([
            "id uuid",
            "rev bigint",
            "digest bytea",
            "tenant_id uuid",
            "device_id uuid",
            "received_at timestamp with time zone",
        ]));
        assert_eq!(names(&client, &sql).await, expected, "{}", table.name());
    }
}

#[tokio::test]
async fn a_device_is_granted_the_columns_that_travel_and_no_table() {
    let (database, central, tenant) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let client = database.superuser().await;
    for table in Table::ALL {
        let all = table
            .columns()
            .iter()
            .map(|c| c.name)
            .chain(["id", "rev", "digest"]);
        let mutable = table
            .columns()
            .iter()
            .filter(|c| c.mutable)
            .map(|c| c.name)
            .chain(["rev", "digest"]);
        for (privilege, expected) in [
            ("SELECT", set(all.clone())),
            ("INSERT", set(all)),
            ("UPDATE", set(mutable)),
            ("REFERENCES", set([])),
        ] {
            let sql = format!(
                "SELECT attname FROM pg_attribute WHERE attrelid = '{}.{}'::regclass AND attnum > 0 \
                 AND has_column_privilege('dv_{}', attrelid, attnum, '{privilege}')",
                tenant.schema_name,
                table.name(),
                ada.device_id.simple()
            );
            assert_eq!(
                names(&client, &sql).await,
                expected,
                "{privilege} on {}",
                table.name()
            );
        }
    }
    let tables = format!(
        "SELECT c.oid::regclass || ' ' || p FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', \
         'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relnamespace NOT IN \
         ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) \
         AND c.relnamespace::regnamespace::text <> 'pg_toast' AND has_table_privilege('dv_{}', c.oid, p)",
        ada.device_id.simple()
    );
    assert_eq!(names(&client, &tables).await, set([]));
}

#[tokio::test]
async fn every_table_has_forced_security_and_a_policy_for_its_owner() {
    let (database, _central, tenant) = Database::with_tenant().await;
    let client = database.superuser().await;
    let tables = |condition: &str| {
        format!(
            "SELECT relname FROM pg_class c WHERE relkind = 'r' AND (relnamespace = '{}'::regnamespace \
             OR oid = 'public.tenants'::regclass) {condition}",
            tenant.schema_name
        )
    };
    assert_eq!(names(&client, &tables("")).await.len(), 8);
    let unforced = tables("AND NOT (relrowsecurity AND relforcerowsecurity)");
    assert_eq!(names(&client, &unforced).await, set([]));
    let ownerless = tables(
        "AND NOT EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = c.oid AND relowner = ANY (polroles))",
    );
    assert_eq!(names(&client, &ownerless).await, set([]));
    let foreign = tables("AND relowner <> 'millpond_owner'::regrole");
    assert_eq!(names(&client, &foreign).await, set([]));
}

#[tokio::test]
async fn nothing_of_ours_is_left_to_everyone() {
    let (database, _central, _tenant) = Database::with_tenant().await;
    let client = database.superuser().await;
    let sql = "
        SELECT 'schema ' || nspname FROM pg_namespace, aclexplode(nspacl) a
         WHERE a.grantee = 0 AND nspname NOT IN ('pg_catalog', 'information_schema')
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
         WHERE a.grantee = 0 AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        UNION ALL
        SELECT 'table ' || c.oid::regclass FROM pg_class c, aclexplode(relacl) a
         WHERE a.grantee = 0 AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
    assert_eq!(names(&client, sql).await, set([]));
    let definers =
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE prosecdef AND proconfig IS NULL";
    assert_eq!(names(&client, definers).await, set([]));
}

#[tokio::test]
async fn a_call_s_session_is_looked_up_by_its_id_however_empty_the_table_was() {
    let (database, _central, tenant) = Database::with_tenant().await;
    let client = database.superuser().await;
    // The foreign key's own query, planned as it is in the first push to a new tenant.
    let sql = format!(
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
         PREPARE parent (uuid, uuid, uuid) AS SELECT 1 FROM ONLY {}.metrics_sessions x
         WHERE id = $1 AND user_id = $2 AND tenant_id = $3 FOR KEY SHARE OF x",
        tenant.schema_name
    );
    client.batch_execute(&sql).await.unwrap();
    let explain = "EXPLAIN (COSTS off) EXECUTE parent (gen_random_uuid(), gen_random_uuid(), gen_random_uuid())";
    let plan: Vec<String> = rows(&client, explain)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect();
    let plan = plan.join("\n");
    assert!(
        plan.contains("metrics_sessions_owner_key") || plan.contains("metrics_sessions_pkey"),
        "{plan}"
    );
}
