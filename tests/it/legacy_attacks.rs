//! Statements that try to leave their context: each is refused, and nothing has changed afterwards.

use millpond::legacy::{Error, Organization};
use uuid::Uuid;

use crate::fixture::at;
use crate::legacy::{ADA, Side, World};

/// What neither side may take. `{other}` is the other tenant's schema.
const ON_BOTH: &[&str] = &[
    "SELECT * FROM {other}.users",
    "SELECT * FROM \"{other}\".\"users\"",
    "SELECT * FROM public.tenants",
    "SELECT * FROM main.users",
    "SELECT * FROM pg_catalog.pg_roles",
    "SELECT * FROM pg_class",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM meta",
    "SELECT * FROM change_log",
    "SELECT * FROM sync_streams",
    "SELECT * FROM control.devices",
    "SELECT * FROM users; SELECT * FROM users",
    "SELECT 1; DROP TABLE users",
    "TABLE users",
    "VALUES (1)",
    "PRAGMA query_only = 0",
    "PRAGMA table_info(users)",
    "SELECT * FROM pragma_table_info('users')",
    "ATTACH DATABASE '/tmp/x.db' AS other",
    "DETACH DATABASE main",
    "VACUUM INTO '/tmp/x.db'",
    "DROP TABLE users",
    "CREATE TABLE mine (a integer)",
    "CREATE TEMP TABLE users (a integer)",
    "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
    "TRUNCATE users",
    "GRANT SELECT ON users TO PUBLIC",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "SET ROLE postgres",
    "SET LOCAL search_path = {other}",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ROLE",
    "SHOW search_path",
    "DISCARD ALL",
    "EXPLAIN ANALYZE DELETE FROM users",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "DECLARE c CURSOR FOR SELECT 1",
    "LISTEN a",
    "LOCK TABLE users",
    "COPY users TO PROGRAM 'id'",
    "COPY users FROM '/etc/passwd'",
    "DO 'BEGIN END'",
    "DO $$ BEGIN END $$",
    "CALL something()",
    "MERGE INTO users u USING users v ON true WHEN MATCHED THEN DELETE",
    "SELECT set_config('role', 'postgres', true)",
    "SELECT pg_catalog.set_config('role', 'none', true)",
    "SELECT \"set_config\"('search_path', '{other}', false)",
    "SELECT SET_CONFIG('role', 'none', false) FROM users",
    "SELECT id FROM users ORDER BY set_config('role', 'none', true)",
    "SELECT count(*) FILTER (WHERE set_config('role', 'none', true) = '') FROM users",
    "SELECT CASE WHEN true THEN (SELECT set_config('role', 'none', true)) END",
    "SELECT query_to_xml('SELECT * FROM {other}.users', true, true, '')",
    "SELECT table_to_xml('{other}.users', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t(a text)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_sleep(60)",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT current_setting('role')",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT * FROM generate_series(1, 10)",
    "SELECT * FROM json_each('[1]')",
    "SELECT * FROM LATERAL query_to_xml('SELECT 1', true, true, '') x",
    "SELECT * FROM ROWS FROM (query_to_xml('SELECT 1', true, true, ''))",
    "SELECT '{other}.users'::regclass",
    "SELECT cast('pg_class' AS regclass)",
    "SELECT CAST(ROW(1) AS users)",
    "SELECT 1 OPERATOR(pg_catalog.+) 1",
    "SELECT * INTO mine FROM users",
    "SELECT * FROM users FOR UPDATE",
    "WITH x AS (DELETE FROM users RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO users (id) VALUES (1) RETURNING *) SELECT * FROM x",
    "WITH users AS (SELECT 1 AS id) SELECT * FROM users",
    "WITH x AS (SELECT * FROM {other}.users) SELECT * FROM x",
    "SELECT (SELECT count(*) FROM {other}.users)",
    "SELECT * FROM users WHERE EXISTS (SELECT 1 FROM {other}.users)",
    "SELECT * FROM users UNION ALL SELECT * FROM {other}.users",
    "SELECT * FROM users UNION ALL TABLE pg_roles",
    "SELECT * FROM users JOIN {other}.users o ON true",
    "SELECT * FROM users, LATERAL (SELECT * FROM pg_roles) r",
    "INSERT INTO {other}.users (id) VALUES (1)",
    "INSERT INTO users (id) SELECT id FROM {other}.users",
    "INSERT INTO tenants (id) VALUES (1)",
    "INSERT INTO users (id, tenant_id) VALUES (1, 2)",
    "INSERT OR REPLACE INTO users (id) VALUES (1)",
    "REPLACE INTO users (id) VALUES (1)",
    "INSERT INTO users DEFAULT VALUES",
    "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET email = (SELECT domain FROM {other}.tenants)",
    "UPDATE {other}.users SET email = 'x'",
    "UPDATE users SET email = o.email FROM {other}.users o",
    "UPDATE users SET email = (SELECT rolname FROM pg_roles LIMIT 1)",
    "UPDATE users SET tenant_id = '00000000-0000-0000-0000-000000000000'",
    "UPDATE users SET (rev, digest) = (1, 2)",
    "UPDATE tenants SET is_active = false",
    "UPDATE ONLY users SET email = 'x'",
    "DELETE FROM {other}.users",
    "DELETE FROM users USING {other}.users o",
    "DELETE FROM users WHERE id IN (SELECT id FROM {other}.users)",
    "DELETE FROM users RETURNING (SELECT count(*) FROM {other}.users)",
    "DELETE FROM tenants",
    "DELETE FROM change_log",
    "SELECT * FROM users -- \n; DROP TABLE users",
    "SELECT * FROM users /* ; */ ; DELETE FROM users",
    "SELECT E'\\'' || query_to_xml('x', true, true, '')",
    "SELECT U&'\\0027'",
    "SELECT 1 WHERE 'a' = 'b' OR $1 = $1",
    "",
    ";",
];

/// What passes the parser and means nothing: a common table expression has a name that no table has, so that its own
/// definition cannot reach a table of the same name.
const MEANINGLESS: &[&str] = &[
    "WITH pg_roles AS (SELECT * FROM pg_roles) SELECT * FROM pg_roles",
    "WITH meta AS (SELECT * FROM meta) SELECT * FROM meta",
    "SELECT * FROM (WITH pg_class AS (SELECT 1) SELECT 1) x, pg_class",
];

fn filled(statement: &str, other: &str) -> String {
    statement.replace("{other}", other)
}

async fn all_are_refused(world: &World) {
    let before = world.all().await;
    let other = world.umbra.tenant().schema_name.clone();
    for statement in ON_BOTH {
        let sql = filled(statement, &other);
        for tried in [
            world.acme.query(&sql, &[]).await.map(drop),
            world.acme.execute(&sql, &[]).await.map(drop),
            world.db.query(&sql, &[]).await.map(drop),
        ] {
            assert!(matches!(tried, Err(Error::Refused(_))), "{sql}: {tried:?}");
        }
    }
    for sql in MEANINGLESS {
        let tried = world.acme.query(sql, &[]).await;
        assert!(tried.is_err(), "{sql}: {tried:?}");
    }
    assert_eq!(world.all().await, before);
}

#[tokio::test]
async fn whatever_tries_to_leave_a_local_context_is_refused_and_changes_nothing() {
    all_are_refused(&World::local().await).await;
}

#[tokio::test]
async fn whatever_tries_to_leave_a_central_context_is_refused_and_changes_nothing() {
    all_are_refused(&World::central().await).await;
}

/// Text of others that reached a parameter is a value, whatever it says.
#[tokio::test]
async fn a_parameter_is_a_value_whatever_it_says() {
    for world in [World::local().await, World::central().await] {
        let before = world.all().await;
        for text in [
            "' OR 1=1 --",
            "x'; DROP TABLE users; --",
            "$1",
            "\\'; COMMIT; --",
        ] {
            let rows = world
                .acme
                .query("SELECT * FROM users WHERE email = $1", &[text.into()])
                .await
                .unwrap();
            assert!(rows.is_empty());
        }
        assert_eq!(world.all().await, before);
    }
}

/// A row of another tenant cannot be brought in: its ids mean nothing here.
#[tokio::test]
async fn a_row_of_another_tenant_is_neither_seen_nor_touched_by_its_id() {
    for world in [World::local().await, World::central().await] {
        let id = Uuid::from_u128(77);
        let sql = "INSERT INTO users (id, email, created_at, updated_at) VALUES ($1, 'eve@umbra.dev', $2, $2)";
        world
            .umbra
            .execute(sql, &[id.into(), at(1).into()])
            .await
            .unwrap();
        let count =
            async |of: &Organization, sql: &str| of.execute(sql, &[id.into()]).await.unwrap();
        assert_eq!(
            count(&world.acme, "SELECT id FROM users WHERE id = $1").await,
            0
        );
        assert_eq!(
            count(
                &world.acme,
                "UPDATE users SET first_name = 'x' WHERE id = $1"
            )
            .await,
            0
        );
        assert_eq!(
            count(&world.acme, "DELETE FROM users WHERE id = $1").await,
            0
        );
        assert_eq!(
            count(&world.umbra, "SELECT id FROM users WHERE id = $1").await,
            1
        );
        let session = "INSERT INTO metrics_sessions (id, user_id, session_start, session_type, source, created_at) \
                       VALUES ($1, $1, $2, 'agent', 'claude', $2)";
        let tried = world
            .acme
            .execute(session, &[id.into(), at(1).into()])
            .await;
        assert_eq!(tried.unwrap_err().kind(), "foreign_key");
    }
}

/// A login that is no administrator's: a member of one tenant's role, which the server lets it become and no other.
#[tokio::test]
async fn a_login_of_one_tenant_s_programs_reaches_that_tenant_alone() {
    let world = World::central().await;
    let Side::Central(server) = &world.side else {
        unreachable!()
    };
    let (acme, umbra) = (world.acme.tenant(), world.umbra.tenant());
    let login = format!("app_{}", Uuid::new_v4().simple());
    let role = format!("tp_{}", acme.id.as_uuid().simple());
    let database = server
        .url
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    server
        .superuser()
        .await
        .batch_execute(&format!(
            "CREATE ROLE {login} LOGIN PASSWORD 'secret' NOINHERIT; GRANT {role} TO {login}; \
             GRANT CONNECT ON DATABASE {database} TO {login}"
        ))
        .await
        .unwrap();
    let rest = server.url.split_once('@').unwrap().1;
    let url = format!("postgresql://{login}:secret@{rest}");
    let db = millpond::legacy::Legacy::central(&crate::legacy::settings(&url))
        .await
        .unwrap();
    let own = db
        .set_organization_context(acme.id.as_uuid())
        .await
        .unwrap();
    assert_eq!(
        own.query("SELECT id FROM users", &[]).await.unwrap()[0]
            .get::<Uuid>("id")
            .unwrap(),
        ADA
    );
    let other = db.set_organization_context(umbra.id.as_uuid()).await;
    assert!(matches!(other, Err(Error::NotAllowed { .. })), "{other:?}");
    let list = db.query("SELECT * FROM tenants", &[]).await;
    assert!(matches!(list, Err(Error::NotAllowed { .. })), "{list:?}");
}
