//! Upgrades of tenants' schemas, with migrations that the tests add to the embedded ones; drift; resets; two admins.

use std::time::Duration;

use millpond_sync::postgres::central::{
    Central, CentralError, Drift, Migrated, Shadow, TenantMigrations,
};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};
use tokio_postgres::Client;

use crate::support::{
    Database, LIMIT, enroll, eventually, new_tenant, raw, rows, scalar, sqlstate,
};

/// The embedded migrations and one more.
fn with_next(sql: &str) -> TenantMigrations {
    let now = TenantMigrations::embedded().unwrap();
    let name = format!("V{}__added", now.latest() + 1);
    now.with(&name, sql).unwrap()
}

const NOTES: &str = "ALTER TABLE users ADD COLUMN nickname text";

/// What a shadow database must hold none of.
const LEFT: &str = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 't\\_%'";

async fn shadow() -> (Database, Shadow) {
    let database = Database::create().await;
    let endpoint = Endpoint::parse(&database.url).unwrap();
    let shadow = Shadow::connect(&endpoint).await.unwrap();
    (database, shadow)
}

/// A database with three tenants, and an admin who brings the next version.
async fn three() -> (Database, Central, Client) {
    let (database, central, _) = Database::with_tenant().await;
    for domain in ["beta", "gamma"] {
        central.create_tenant(&new_tenant(domain)).await.unwrap();
    }
    let superuser = database.superuser().await;
    (
        database,
        central.with_migrations(with_next(NOTES)),
        superuser,
    )
}

async fn schema(central: &Central, domain: &str) -> String {
    central.tenant(domain).await.unwrap().schema_name
}

async fn drifts(central: &Central) -> Vec<Drift> {
    let status = central.status().await.unwrap();
    status.tenants.iter().map(|tenant| tenant.drift).collect()
}

/// Puts a column of that name in the way of the next migration.
async fn obstruct(superuser: &Client, schema: &str) {
    let sql = format!("ALTER TABLE {schema}.users ADD COLUMN nickname integer");
    superuser.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_goes_past_a_tenant_that_fails_and_the_next_run_goes_on_with_it() {
    let (_database, central, superuser) = three().await;
    let beta = schema(&central, "beta").await;
    obstruct(&superuser, &beta).await;
    assert_eq!(drifts(&central).await, [Drift::Behind; 3]);
    let mut told = Vec::new();
    let migrated = central
        .migrate_carefully(None, None, |at| told.push((at.done, at.total)))
        .await
        .unwrap();
    assert_eq!(told, [(1, 3), (2, 3), (3, 3)]);
    assert_eq!(migrated.done.len(), 2);
    assert_eq!(migrated.failed[0].domain, "beta");
    assert_eq!(migrated.failed[0].sqlstate.as_deref(), Some("42701"));
    assert_eq!(
        drifts(&central).await,
        [Drift::None, Drift::Behind, Drift::None]
    );
    let sql = format!("ALTER TABLE {beta}.users DROP COLUMN nickname");
    superuser.batch_execute(&sql).await.unwrap();
    assert_eq!(central.migrate().await.unwrap().done, ["beta"]);
    assert_eq!(central.migrate().await.unwrap(), Migrated::default());
}

#[tokio::test]
async fn a_canary_that_fails_keeps_every_other_tenant_from_being_touched() {
    let (_database, central, superuser) = three().await;
    let gamma = schema(&central, "gamma").await;
    obstruct(&superuser, &gamma).await;
    let stopped = central
        .migrate_carefully(Some("gamma"), None, |_| {})
        .await
        .unwrap();
    assert!(stopped.stopped_at_canary);
    assert_eq!(stopped.done, Vec::<String>::new());
    assert_eq!(drifts(&central).await, [Drift::Behind; 3]);
    let nobody = central
        .migrate_carefully(Some("nobody"), None, |_| {})
        .await;
    assert!(matches!(nobody, Err(CentralError::NotFound { .. })));
    let past = central
        .migrate_carefully(Some("acme"), None, |_| {})
        .await
        .unwrap();
    assert_eq!((past.done[0].as_str(), past.done.len()), ("acme", 2));
}

#[tokio::test]
async fn a_rehearsal_that_fails_touches_nothing_and_leaves_nothing_in_the_shadow() {
    let (_database, central, _superuser) = three().await;
    let (scratch, shadow) = shadow().await;
    let central = central.with_migrations(with_next("ALTER TABLE nowhere ADD COLUMN x text"));
    let failed = central.migrate_carefully(None, Some(&shadow), |_| {}).await;
    assert!(
        matches!(&failed, Err(CentralError::Migration { sqlstate: Some(code), .. }) if code == "42P01"),
        "{failed:?}"
    );
    assert_eq!(drifts(&central).await, [Drift::Behind; 3]);
    assert_eq!(scalar(&scratch.superuser().await, LEFT).await, "0");
}

#[tokio::test]
async fn a_canary_that_does_not_come_out_as_rehearsed_ends_it() {
    let (_database, central, superuser) = three().await;
    let (_scratch, shadow) = shadow().await;
    let acme = schema(&central, "acme").await;
    let sql = format!("DROP INDEX {acme}.tool_metrics_started");
    superuser.batch_execute(&sql).await.unwrap();
    let stopped = central
        .migrate_carefully(Some("acme"), Some(&shadow), |_| {})
        .await
        .unwrap();
    assert!(stopped.stopped_at_canary);
    assert!(stopped.failed[0].message.contains("tool_metrics_started"));
    assert_eq!(
        drifts(&central).await,
        [Drift::None, Drift::Behind, Drift::Behind]
    );
}

#[tokio::test]
async fn what_was_altered_by_hand_is_seen_against_a_replay() {
    let (database, central, tenant) = Database::with_tenant().await;
    central.create_tenant(&new_tenant("beta")).await.unwrap();
    enroll(&central, "acme", &["ada@acme.dev"]).await;
    let (scratch, shadow) = shadow().await;
    for found in central.diff(&shadow, None).await.unwrap() {
        assert_eq!((found.drift, found.differences), (Drift::None, vec![]));
    }
    let superuser = database.superuser().await;
    let t = &tenant.schema_name;
    for (by_hand, object, name) in [
        (
            "ALTER TABLE T.users ADD COLUMN extra text",
            "column",
            "users.extra",
        ),
        (
            "DROP POLICY own_rows ON T.tool_metrics",
            "policy",
            "tool_metrics.own_rows",
        ),
        (
            "ALTER TABLE T.dashboard_configs NO FORCE ROW LEVEL SECURITY",
            "table",
            "dashboard_configs",
        ),
        (
            "GRANT DELETE ON T.sync_rejects TO PUBLIC",
            "table",
            "sync_rejects",
        ),
        (
            "GRANT UPDATE (user_id) ON T.metrics_sessions TO PUBLIC",
            "column",
            "metrics_sessions.user_id",
        ),
        (
            "ALTER TABLE T.users DROP CONSTRAINT users_role",
            "constraint",
            "users.users_role",
        ),
        (
            "ALTER TABLE T.sync_streams DISABLE TRIGGER stamp_stream",
            "trigger",
            "sync_streams.stamp_stream",
        ),
        (
            "ALTER FUNCTION T.stamp_stream() SECURITY DEFINER",
            "function",
            "stamp_stream()",
        ),
        ("GRANT CREATE ON SCHEMA T TO PUBLIC", "schema", ""),
    ] {
        superuser
            .batch_execute(
                &by_hand
                    .replace("T.", &format!("{t}."))
                    .replace(" T ", &format!(" {t} ")),
            )
            .await
            .unwrap();
        let found = central.diff(&shadow, Some("acme")).await.unwrap();
        assert_eq!((found.len(), found[0].drift), (1, Drift::Differs));
        assert!(
            found[0]
                .differences
                .iter()
                .any(|found| found.object == object && found.name == name),
            "{by_hand}: {found:?}"
        );
    }
    let other = central.diff(&shadow, Some("beta")).await.unwrap();
    assert_eq!(other[0].drift, Drift::None);
    assert_eq!(scalar(&scratch.superuser().await, LEFT).await, "0");
}

#[tokio::test]
async fn a_device_that_is_in_the_way_is_ended_and_nobody_else_is() {
    let (database, central, tenant) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let central = central.with_migrations(with_next(NOTES));
    let (busy, idle) = (raw(&ada.url).await, database.superuser().await);
    let read = format!("BEGIN; SELECT count(id) FROM {}.users", tenant.schema_name);
    busy.batch_execute(&read).await.unwrap();
    assert_eq!(central.migrate().await.unwrap().done, ["acme"]);
    eventually(LIMIT, async || busy.is_closed()).await;

    // Not a device of the tenant: it is left alone, and the migration gives way.
    let central = central.with_migrations(with_next("SELECT 1"));
    idle.batch_execute(&read).await.unwrap();
    idle.batch_execute("UPDATE control.tenant_schemas SET version = 0, checksum = ''")
        .await
        .unwrap();
    let lock = format!("LOCK TABLE {}.refinery_schema_history", tenant.schema_name);
    idle.batch_execute("COMMIT; BEGIN").await.unwrap();
    idle.batch_execute(&lock).await.unwrap();
    let failed = central.migrate().await.unwrap().failed;
    assert_eq!(failed[0].sqlstate.as_deref(), Some("55P03"));
    idle.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn two_admins_share_the_work_and_do_nothing_twice() {
    let (database, central, superuser) = three().await;
    // Counts how often the migration ran.
    superuser
        .batch_execute("CREATE SEQUENCE public.runs; GRANT ALL ON public.runs TO PUBLIC")
        .await
        .unwrap();
    let next = with_next("SELECT nextval('public.runs'), pg_sleep(0.2)");
    let one = central.with_migrations(next.clone());
    let other = database.central().await.with_migrations(next);
    let (first, second) = tokio::join!(one.migrate(), other.migrate());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.failed.len(), second.failed.len()), (0, 0));
    let mut done: Vec<_> = first.done.into_iter().chain(second.done).collect();
    done.sort();
    assert_eq!(done, ["acme", "beta", "gamma"]);
    let runs = "SELECT last_value FROM public.runs";
    assert_eq!(scalar(&superuser, runs).await, "3");
}

#[tokio::test]
async fn a_tenant_that_another_admin_holds_is_left_to_him() {
    let (_database, central, superuser) = three().await;
    superuser.batch_execute("BEGIN").await.unwrap();
    let hold = "SELECT 1 FROM control.tenant_schemas s JOIN public.tenants t ON t.id = s.tenant_id \
                WHERE t.domain = 'beta' FOR UPDATE OF s";
    superuser.batch_execute(hold).await.unwrap();
    let migrated = central.migrate().await.unwrap();
    assert_eq!(
        (migrated.left, migrated.done.len()),
        (vec!["beta".to_owned()], 2)
    );
    assert!(matches!(
        central.reset_tenant("beta").await,
        Err(CentralError::Locked { .. })
    ));
    superuser.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(central.migrate().await.unwrap().done, ["beta"]);
}

#[tokio::test]
async fn a_reset_keeps_the_users_and_their_devices_and_mends_what_drifted() {
    let (database, central, tenant) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let (_scratch, shadow) = shadow().await;
    let superuser = database.superuser().await;
    let t = &tenant.schema_name;
    superuser
        .batch_execute(&format!(
            "UPDATE {t}.users SET first_name = 'Ada', digest = '\\x000102030405060708090a0b0c0d0e0f';
             ALTER TABLE {t}.users ADD COLUMN extra text; DROP POLICY owner_rows ON {t}.users;
             DROP TABLE {t}.tool_metrics"
        ))
        .await
        .unwrap();
    let device = raw(&ada.url).await;
    let seen = format!("SELECT first_name, digest::text FROM {t}.users");
    device
        .batch_execute(&format!("BEGIN; SELECT id FROM {t}.users"))
        .await
        .unwrap();
    central.reset_tenant("acme").await.unwrap();
    eventually(Duration::from_secs(5), async || device.is_closed()).await;
    assert_eq!(
        central.diff(&shadow, None).await.unwrap()[0].drift,
        Drift::None
    );
    let device = raw(&ada.url).await;
    let row = &rows(&device, &seen).await.unwrap()[0];
    assert_eq!(row[0].as_deref(), Some("Ada"));
    assert_eq!(
        row[1].as_deref(),
        Some("\\x000102030405060708090a0b0c0d0e0f")
    );
    // What refinery reads back is what the reset wrote: the next upgrade goes on from there.
    let central = central.with_migrations(with_next(NOTES));
    assert_eq!(central.migrate().await.unwrap().done, ["acme"]);
    assert!(matches!(
        central.reset_tenant("nobody").await,
        Err(CentralError::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_reset_that_fails_leaves_everything_as_it_was() {
    let (_database, central, tenant) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let central = central.with_migrations(with_next("SELECT 1 / 0"));
    let failed = central.reset_tenant("acme").await.unwrap_err();
    assert_eq!(failed.sqlstate(), Some("22012"));
    let device = raw(&ada.url).await;
    let count = format!("SELECT count(id) FROM {}.users", tenant.schema_name);
    assert_eq!(scalar(&device, &count).await, "1");
}

/// As on a managed server: no superuser, two admins, one fresh database, at once.
#[tokio::test]
async fn admins_who_set_up_one_fresh_database_at_once_wait_for_each_other() {
    let server = PrivateServer::start(&PrivateServerOptions::default()).unwrap();
    let superuser = raw(&server.admin_url()).await;
    superuser
        .batch_execute("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'pw'")
        .await
        .unwrap();
    for name in ["one", "two", "three"] {
        superuser
            .batch_execute(&format!("CREATE DATABASE {name} OWNER boss"))
            .await
            .unwrap();
        let url = format!("postgresql://boss:pw@127.0.0.1:{}/{name}", server.port());
        let endpoint = Endpoint::parse(&url).unwrap();
        let init = async || Central::connect(&endpoint).await.unwrap().init().await;
        let (a, b, c, d) = tokio::join!(init(), init(), init(), init());
        for ran in [a, b, c, d] {
            ran.unwrap();
        }
        let inside = raw(&server.url(name)).await;
        let scratch = "SELECT 1 FROM pg_namespace WHERE nspname = 'millpond_setup'";
        assert_eq!(rows(&inside, scratch).await.unwrap().len(), 0);
        assert_eq!(
            sqlstate(inside.batch_execute("CREATE SCHEMA control").await),
            "42P06"
        );
    }
}
