//! What a stolen credential would try: statements, each a right of somebody, none a right of a device.
//!
//! Every name is qualified and every statement well formed: the isolation test runs each one as a superuser too,
//! where it must succeed, so that none is denied for a typing error.

use uuid::Uuid;

/// The places and people that the attacks name.
pub(crate) struct Scene {
    /// The attacker's own schema.
    pub(crate) own: String,
    /// Another tenant's.
    pub(crate) other: String,
    /// The attacker's tenant.
    pub(crate) tenant: Uuid,
    /// Another tenant.
    pub(crate) other_tenant: Uuid,
    /// The attacker's device.
    pub(crate) device: Uuid,
    /// Another device of the same tenant.
    pub(crate) other_device: Uuid,
    /// The attacker's user.
    pub(crate) user: Uuid,
    /// A colleague in the same tenant, whom the device is not enrolled for.
    pub(crate) colleague: Uuid,
    /// A session of the attacker's user.
    pub(crate) session: Uuid,
}

/// How an attack is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// As superuser it succeeds within a transaction, which is rolled back.
    Succeeds,
    /// As superuser it cannot run in a transaction, or would do harm: it is only tried as the device.
    DeviceOnly,
}

pub(crate) struct Attack {
    pub(crate) sql: String,
    pub(crate) control: Control,
}

/// All attacks that must end in 42501.
pub(crate) fn all(scene: &Scene) -> Vec<Attack> {
    let mut attacks = Vec::new();
    let groups = [
        other_tenant(scene),
        after_set(scene),
        spoofed(scene),
        rights(scene),
        definitions(scene),
        roles(scene),
        server(scene),
    ];
    for sql in groups.into_iter().flatten() {
        attacks.push(Attack {
            sql,
            control: Control::Succeeds,
        });
    }
    for sql in outside_transactions(scene) {
        attacks.push(Attack {
            sql,
            control: Control::DeviceOnly,
        });
    }
    attacks
}

/// A session with the given further columns.
pub(crate) fn insert_session(schema: &str, user: Uuid, columns: &str, values: &str) -> String {
    format!(
        "INSERT INTO {schema}.metrics_sessions (id, user_id, session_start, end_inferred, tools_used, session_type, \
         tags, interruptions_count, source, created_at, rev, digest{columns}) \
         VALUES ('{}', '{user}', now(), false, '[]', 'x', '[]', 0, 'x', now(), 1, '\\x{}'{values})",
        Uuid::new_v4(),
        "00".repeat(16)
    )
}

fn other_tenant(scene: &Scene) -> Vec<String> {
    let other = &scene.other;
    let mut attacks: Vec<String> = [
        "users",
        "metrics_sessions",
        "tool_metrics",
        "dashboard_configs",
        "sync_streams",
        "sync_rejects",
    ]
    .iter()
    .flat_map(|table| {
        [
            format!("SELECT 1 FROM {other}.{table}"),
            format!("EXPLAIN ANALYZE SELECT 1 FROM {other}.{table}"),
            format!("COPY {other}.{table} TO STDOUT"),
            format!("TABLE {other}.{table}"),
        ]
    })
    .collect();
    attacks.extend([
        format!("UPDATE {other}.metrics_sessions SET description = 'x'"),
        format!("UPDATE {other}.metrics_sessions SET description = 'x' RETURNING id"),
        format!("DELETE FROM {other}.dashboard_configs"),
        format!("SELECT 1 FROM {other}.refinery_schema_history"),
        format!(
            "INSERT INTO {other}.sync_streams (stream_id, device_id, batch_id, rows) \
                 VALUES ('{0}', '{0}', '{0}', 0)",
            Uuid::new_v4()
        ),
        "SELECT 1 FROM public.tenants".into(),
        "SELECT 1 FROM control.devices".into(),
        "SELECT 1 FROM control.device_users".into(),
        "SELECT 1 FROM control.tenant_schemas".into(),
    ]);
    attacks
}

/// Whatever is set, the login stays what it is. Each ends in an attack that is denied.
fn after_set(scene: &Scene) -> Vec<String> {
    let (own, other, tenant) = (&scene.own, &scene.other, scene.other_tenant);
    [
        format!("SET LOCAL search_path = {other}"),
        format!("SET LOCAL app.tenant_id = '{tenant}'"),
        format!("SELECT set_config('request.jwt.claims', '{tenant}', true)"),
        "SET LOCAL session_replication_role = DEFAULT".into(),
        "SET LOCAL transaction_read_only = off".into(),
        "RESET ROLE".into(),
        "RESET SESSION AUTHORIZATION".into(),
    ]
    .iter()
    .map(|setting| format!("{setting}; SELECT 1 FROM {other}.metrics_sessions"))
    // Without a policy to filter by, the server refuses to read at all.
    .chain([format!(
        "SET LOCAL row_security = off; SELECT id FROM {own}.metrics_sessions"
    )])
    .collect()
}

fn spoofed(scene: &Scene) -> Vec<String> {
    let (own, user) = (&scene.own, scene.user);
    let insert = |columns: &str, value: String| insert_session(own, user, columns, &value);
    let session = scene.session;
    vec![
        // Even the truth may not be written: the columns are the server's.
        insert(", tenant_id", format!(", '{}'", scene.tenant)),
        insert(", device_id", format!(", '{}'", scene.device)),
        insert(", device_id", format!(", '{}'", scene.other_device)),
        insert(", received_at", ", now()".into()),
        insert_session(own, scene.colleague, "", ""),
        format!(
            "{} RETURNING id",
            insert_session(own, scene.colleague, "", "")
        ),
        format!(
            "{} ON CONFLICT (id) DO UPDATE SET rev = excluded.rev",
            insert_session(own, scene.colleague, "", "")
        ),
        format!(
            "INSERT INTO {own}.sync_streams (stream_id, batch_id, rows, device_id) \
                 VALUES ('{0}', '{0}', 0, '{1}')",
            Uuid::new_v4(),
            scene.other_device
        ),
        format!(
            "INSERT INTO {own}.sync_streams (stream_id, batch_id, rows, tenant_id, device_id) \
                 VALUES ('{0}', '{0}', 0, '{1}', '{2}')",
            Uuid::new_v4(),
            scene.tenant,
            scene.device
        ),
        format!(
            "INSERT INTO {own}.sync_rejects (batch_id, table_name, row_id, rev, sqlstate, message, device_id) \
                 VALUES ('{0}', 'tool_metrics', '{0}', 1, '23514', 'x', '{1}')",
            Uuid::new_v4(),
            scene.other_device
        ),
        format!(
            "INSERT INTO {own}.users (id, email) VALUES ('{0}', '{0}@acme.dev')",
            Uuid::new_v4()
        ),
        format!("UPDATE {own}.users SET role = 'admin' WHERE id = '{user}'"),
        format!(
            "UPDATE {own}.dashboard_configs SET id = '{}' WHERE user_id = '{user}'",
            Uuid::new_v4()
        ),
        format!(
            "UPDATE {own}.dashboard_configs SET user_id = '{}' WHERE user_id = '{user}'",
            scene.colleague
        ),
        format!("UPDATE {own}.metrics_sessions SET tenant_id = tenant_id WHERE id = '{session}'"),
        format!("UPDATE {own}.metrics_sessions SET device_id = NULL WHERE id = '{session}'"),
        format!("UPDATE {own}.metrics_sessions SET received_at = now() WHERE id = '{session}'"),
        format!("UPDATE {own}.metrics_sessions SET created_at = now() WHERE id = '{session}'"),
        format!(
            "UPDATE {own}.sync_streams SET device_id = '{}'",
            scene.other_device
        ),
        format!("UPDATE {own}.sync_streams SET batches = 0"),
        format!("SELECT tenant_id, device_id FROM {own}.metrics_sessions"),
        format!("SELECT * FROM {own}.metrics_sessions"),
        format!("SELECT preferences FROM {own}.users"),
    ]
}

fn rights(scene: &Scene) -> Vec<String> {
    let (own, other) = (&scene.own, &scene.other);
    vec![
        format!("DELETE FROM {own}.dashboard_configs"),
        format!(
            "DELETE FROM {own}.tool_metrics WHERE id = '{}'",
            Uuid::new_v4()
        ),
        format!("DELETE FROM {own}.sync_streams"),
        format!("DELETE FROM {own}.sync_rejects"),
        format!("TRUNCATE {own}.tool_metrics"),
        format!("TRUNCATE {own}.metrics_sessions CASCADE"),
        format!("LOCK TABLE {own}.metrics_sessions IN ACCESS SHARE MODE"),
        format!("LOCK TABLE {own}.tool_metrics IN ROW EXCLUSIVE MODE"),
        format!("LOCK TABLE {own}.sync_streams IN ACCESS EXCLUSIVE MODE"),
        format!("LOCK TABLE {own}.refinery_schema_history"),
        format!("UPDATE {own}.refinery_schema_history SET version = version + 99"),
        format!("GRANT SELECT ON {own}.metrics_sessions TO PUBLIC"),
        format!(
            "GRANT ALL ON {own}.tool_metrics TO dv_{}",
            scene.device.simple()
        ),
        format!(
            "GRANT CREATE ON SCHEMA {other} TO dv_{}",
            scene.device.simple()
        ),
        format!("REVOKE SELECT ON {own}.metrics_sessions FROM millpond_owner"),
        "GRANT USAGE ON SCHEMA public TO PUBLIC".into(),
    ]
}

fn definitions(scene: &Scene) -> Vec<String> {
    let (own, device) = (&scene.own, scene.device.simple());
    vec![
        format!("ALTER TABLE {own}.metrics_sessions ADD COLUMN x integer"),
        format!("ALTER TABLE {own}.metrics_sessions DISABLE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {own}.metrics_sessions NO FORCE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {own}.metrics_sessions OWNER TO dv_{device}"),
        format!("ALTER TABLE {own}.metrics_sessions RENAME TO mine"),
        format!("ALTER TABLE {own}.metrics_sessions DISABLE TRIGGER ALL"),
        format!("ALTER TABLE {own}.metrics_sessions DROP CONSTRAINT metrics_sessions_tenant"),
        format!("ALTER SCHEMA {own} RENAME TO mine"),
        format!("ALTER FUNCTION {own}.stamp_stream() SECURITY DEFINER"),
        format!("DROP TABLE {own}.tool_metrics"),
        format!("DROP SCHEMA {own} CASCADE"),
        format!("DROP POLICY own_rows ON {own}.metrics_sessions"),
        format!("DROP INDEX {own}.tool_metrics_session"),
        format!("CREATE POLICY mine ON {own}.metrics_sessions USING (true)"),
        format!("ALTER POLICY own_rows ON {own}.metrics_sessions USING (true)"),
        format!("CREATE TABLE {own}.mine (x integer)"),
        format!("CREATE VIEW {own}.mine AS SELECT 1 AS x"),
        format!("CREATE SEQUENCE {own}.mine"),
        format!("CREATE INDEX ON {own}.metrics_sessions (source)"),
        format!("CREATE RULE mine AS ON INSERT TO {own}.metrics_sessions DO INSTEAD NOTHING"),
        format!(
            "CREATE TRIGGER mine BEFORE INSERT ON {own}.metrics_sessions FOR EACH ROW \
                 EXECUTE FUNCTION {own}.stamp_stream()"
        ),
        format!("CREATE FUNCTION {own}.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'"),
        "CREATE FUNCTION public.mine() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
            .into(),
        "CREATE TABLE public.mine (x integer)".into(),
        "CREATE SCHEMA mine".into(),
        "CREATE TEMP TABLE mine (x integer)".into(),
        "CREATE TEMP VIEW mine AS SELECT 1 AS x".into(),
        "CREATE TEMP SEQUENCE mine".into(),
        "SELECT 1 AS x INTO TEMP mine".into(),
        "DO 'BEGIN END'".into(),
        format!("COMMENT ON TABLE {own}.metrics_sessions IS 'mine'"),
        format!("CREATE STATISTICS {own}.mine ON id, user_id FROM {own}.metrics_sessions"),
        "CREATE PUBLICATION mine".into(),
        "DROP EXTENSION plpgsql CASCADE".into(),
    ]
}

fn roles(scene: &Scene) -> Vec<String> {
    let device = scene.device.simple();
    let mut attacks: Vec<String> = [
        "millpond_owner".to_owned(),
        "postgres".to_owned(),
        "pg_read_all_data".to_owned(),
        "pg_write_all_data".to_owned(),
        format!("us_{}", scene.colleague.simple()),
        format!("tw_{}", scene.other_tenant.simple()),
        format!("dv_{}", scene.other_device.simple()),
    ]
    .iter()
    .map(|role| format!("SET LOCAL ROLE {role}"))
    .collect();
    attacks.extend([
        "SET LOCAL SESSION AUTHORIZATION postgres".into(),
        "SET LOCAL SESSION AUTHORIZATION millpond_owner".into(),
        format!("GRANT millpond_owner TO dv_{device}"),
        format!("GRANT us_{} TO dv_{device}", scene.colleague.simple()),
        format!(
            "GRANT us_{} TO dv_{}",
            scene.user.simple(),
            scene.other_device.simple()
        ),
        format!(
            "REVOKE tw_{} FROM dv_{}",
            scene.tenant.simple(),
            scene.other_device.simple()
        ),
        format!("CREATE ROLE us_{}", Uuid::new_v4().simple()),
        format!("CREATE ROLE mine_{device} SUPERUSER"),
        format!("ALTER ROLE dv_{device} CREATEROLE"),
        format!("ALTER ROLE dv_{device} BYPASSRLS"),
        format!("ALTER ROLE dv_{device} CONNECTION LIMIT 100"),
        format!("ALTER ROLE dv_{} PASSWORD 'x'", scene.other_device.simple()),
        format!("ALTER ROLE dv_{} NOLOGIN", scene.other_device.simple()),
        "ALTER DEFAULT PRIVILEGES FOR ROLE millpond_owner GRANT SELECT ON TABLES TO PUBLIC".into(),
        format!("REASSIGN OWNED BY millpond_owner TO dv_{device}"),
        "SELECT 1 FROM pg_catalog.pg_authid".into(),
        "SELECT 1 FROM pg_catalog.pg_shadow".into(),
        "SELECT 1 FROM pg_catalog.pg_user_mappings, pg_catalog.pg_hba_file_rules".into(),
    ]);
    attacks
}

fn server(scene: &Scene) -> Vec<String> {
    vec![
        "SELECT pg_catalog.lo_create(0)".into(),
        "SELECT pg_catalog.lo_creat(-1)".into(),
        "SELECT pg_catalog.lo_from_bytea(0, '\\x00')".into(),
        "SELECT 1 FROM pg_catalog.pg_largeobject".into(),
        "SELECT pg_catalog.pg_advisory_lock(1)".into(),
        "SELECT pg_catalog.pg_advisory_xact_lock(1)".into(),
        "SELECT pg_catalog.pg_try_advisory_lock(1, 2)".into(),
        "SELECT pg_catalog.pg_advisory_unlock_all()".into(),
        "SELECT pg_catalog.pg_logical_emit_message(true, 'x', 'x')".into(),
        format!(
            "COPY (SELECT id FROM {}.metrics_sessions) TO '/dev/null'",
            scene.own
        ),
        format!(
            "COPY (SELECT id FROM {}.metrics_sessions) TO PROGRAM 'cat > /dev/null'",
            scene.own
        ),
        format!("COPY {}.sync_rejects FROM '/dev/null'", scene.own),
        format!("COPY {}.sync_rejects FROM PROGRAM 'true'", scene.own),
        "SELECT pg_catalog.pg_read_file('PG_VERSION')".into(),
        "SELECT pg_catalog.pg_ls_dir('.')".into(),
        "SELECT pg_catalog.pg_stat_file('PG_VERSION')".into(),
        "SELECT pg_catalog.pg_reload_conf()".into(),
        "SELECT pg_catalog.pg_stat_reset()".into(),
        "SET LOCAL session_replication_role = replica".into(),
        "SET LOCAL log_statement = 'none'".into(),
    ]
}

fn outside_transactions(scene: &Scene) -> Vec<String> {
    vec![
        "CREATE DATABASE mine".into(),
        "ALTER SYSTEM SET work_mem = '1GB'".into(),
        "CHECKPOINT".into(),
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE usename = 'postgres'"
            .into(),
        "SET SESSION AUTHORIZATION postgres".into(),
        format!("SET ROLE us_{}", scene.colleague.simple()),
    ]
}
