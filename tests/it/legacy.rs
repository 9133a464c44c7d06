//! The legacy interface: the same statements, the same answers, on the store of this machine and on the central one.

use std::pin::Pin;
use std::sync::Arc;

use millpond::config::{DatabaseSettings, DatabaseUrl};
use millpond::domain::ids::TenantId;
use millpond::domain::units::Timestamp;
use millpond::legacy::{Error, Legacy, Organization, Value};
use millpond::store::Store;
use serde_json::json;
use uuid::Uuid;

use crate::fixture::{Fixture, at, user};
use crate::workstation::Central as Server;

/// Two tenants, acme and umbra, each with one user of the same address in another case; and what holds them.
pub struct World {
    pub db: Legacy,
    pub acme: Organization,
    pub umbra: Organization,
    pub side: Side,
}

/// What the statements end up in, kept for as long as the world stands.
#[allow(dead_code, clippy::large_enum_variant)]
pub enum Side {
    Local(Fixture, Arc<Store>),
    Central(Server),
}

pub const ADA: Uuid = Uuid::from_u128(0xada);

impl World {
    pub fn local() -> Pin<Box<dyn Future<Output = Self>>> {
        Box::pin(Self::on_this_machine())
    }

    async fn on_this_machine() -> Self {
        let fixture = Fixture::new();
        let ids = ["acme", "umbra"].map(|domain| fixture.tenant(domain).tenant().id);
        let store = Arc::new(Store::open(fixture.store.home().clone()).unwrap());
        let db = Legacy::local(Arc::clone(&store), &DatabaseSettings::default());
        Self::of(db, ids.map(TenantId::as_uuid), Side::Local(fixture, store)).await
    }

    pub async fn central() -> Self {
        let server = Server::empty().await;
        let ids = server.with_tenants(&["acme", "umbra"]).await;
        let db = Legacy::central(&settings(&server.url)).await.unwrap();
        Self::of(db, [ids[0], ids[1]], Side::Central(server)).await
    }

    async fn of(db: Legacy, ids: [Uuid; 2], side: Side) -> Self {
        let acme = db.set_organization_context(ids[0]).await.unwrap();
        let umbra = db.set_organization_context(ids[1]).await.unwrap();
        for organization in [&acme, &umbra] {
            let domain = organization.tenant().domain.as_str().to_owned();
            add_user(organization, ADA, &format!("ada@{domain}.dev")).await;
        }
        Self {
            db,
            acme,
            umbra,
            side,
        }
    }

    /// Everything that both tenants hold, as text: what an attack must leave as it is.
    pub async fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for organization in [&self.acme, &self.umbra] {
            for table in [
                "users",
                "metrics_sessions",
                "tool_metrics",
                "dashboard_configs",
            ] {
                let sql = format!("SELECT id, created_at, deleted_at FROM {table} ORDER BY id");
                for row in organization.query(&sql, &[]).await.unwrap() {
                    all.push(format!(
                        "{table} {} {}",
                        row.get::<Uuid>("id").unwrap(),
                        row.get::<Timestamp>("created_at").unwrap()
                    ));
                }
            }
        }
        all
    }
}

pub fn settings(url: &str) -> DatabaseSettings {
    DatabaseSettings {
        url: Some(DatabaseUrl::new(url)),
        ..DatabaseSettings::default()
    }
}

async fn add_user(organization: &Organization, id: Uuid, email: &str) {
    let sql = "INSERT INTO users (id, email, created_at, updated_at) VALUES ($1, $2, $3, $3)";
    let params = [id.into(), email.into(), at(0).into()];
    assert_eq!(organization.execute(sql, &params).await.unwrap(), 1);
}

async fn add_session(organization: &Organization, id: u128) -> Uuid {
    let id = Uuid::from_u128(id);
    let sql = "INSERT INTO metrics_sessions (id, user_id, session_start, session_type, source, tags, created_at) \
               VALUES ($1, $2, $3, 'agent', 'claude', $4, $3)";
    let params = [
        id.into(),
        ADA.into(),
        at(7).into(),
        json!(["review"]).into(),
    ];
    assert_eq!(organization.execute(sql, &params).await.unwrap(), 1);
    id
}

async fn add_call(organization: &Organization, id: u128, session: Uuid, ms: Option<i64>) {
    let sql = "INSERT INTO tool_metrics (id, session_id, user_id, tool_name, tool_category, started_at, \
               total_duration_ms, source, created_at) VALUES ($1, $2, $3, 'Bash', 'shell', $4, $5, 'claude', $4)";
    let params = [
        Uuid::from_u128(id).into(),
        session.into(),
        ADA.into(),
        at(8).into(),
        ms.into(),
    ];
    assert_eq!(organization.execute(sql, &params).await.unwrap(), 1);
}

/// One body of a test, run on both sides.
macro_rules! both_sides {
    ($($body:ident),* $(,)?) => {
        mod local {
            $(#[tokio::test]
            async fn $body() {
                super::$body(super::World::local().await).await;
            })*
        }
        mod central {
            $(#[tokio::test]
            async fn $body() {
                super::$body(super::World::central().await).await;
            })*
        }
    };
}

both_sides!(
    a_tenant_is_found_by_its_domain_and_its_rows_are_read_and_written,
    every_type_comes_back_as_it_was_given,
    a_handle_never_moves_another_and_no_row_is_seen_from_two,
    what_was_deleted_is_gone_and_a_session_takes_its_calls_along,
    a_statement_that_fails_changes_nothing,
    aggregates_joins_windows_and_common_table_expressions_are_taken,
    the_list_of_tenants_is_all_of_it_without_a_context_and_one_row_within,
    an_upsert_updates_and_returning_returns,
    bad_parameters_are_told_before_anything_runs,
);

async fn a_tenant_is_found_by_its_domain_and_its_rows_are_read_and_written(world: World) {
    let rows = world
        .db
        .query("SELECT * FROM tenants WHERE domain = $1", &["acme".into()])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    let id: Uuid = rows[0].get("id").unwrap();
    let acme = world.db.set_organization_context(id).await.unwrap();
    assert_eq!(acme.tenant(), world.acme.tenant());
    assert_eq!(rows[0].get::<String>("domain").unwrap(), "acme");
    let touched = acme
        .execute(
            "UPDATE users SET timezone = $1, updated_at = $2 WHERE email = $3",
            &["Europe/London".into(), at(9).into(), "ada@acme.dev".into()],
        )
        .await
        .unwrap();
    assert_eq!(touched, 1);
    let found = acme
        .query(
            "SELECT timezone, updated_at FROM users WHERE id = $1",
            &[ADA.into()],
        )
        .await
        .unwrap();
    assert_eq!(found[0].get::<String>("timezone").unwrap(), "Europe/London");
    assert_eq!(found[0].get::<Timestamp>("updated_at").unwrap(), at(9));
    let none = world.db.set_organization_context(Uuid::from_u128(9)).await;
    assert_eq!(none.unwrap_err().kind(), "not_found");
}

async fn every_type_comes_back_as_it_was_given(world: World) {
    let id = Uuid::from_u128(3);
    let tags = json!(["a", {"b": [1, null, "\u{e4} ' \\ \" ?"]}]);
    world
        .acme
        .execute(
            "INSERT INTO metrics_sessions (id, user_id, session_start, session_end, end_inferred, \
             total_duration_ms, productivity_score, session_type, project_id, tags, source, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'claude', $3)",
            &[
                id.into(),
                ADA.into(),
                at(1).into(),
                Value::Null,
                true.into(),
                i64::from(i32::MAX).into(),
                62.5.into(),
                "it's \\ a \"type\"".into(),
                None::<String>.into(),
                tags.clone().into(),
            ],
        )
        .await
        .unwrap();
    let rows = world
        .acme
        .query(
            "SELECT * FROM metrics_sessions WHERE session_end IS NULL",
            &[],
        )
        .await
        .unwrap();
    let row = &rows[0];
    assert_eq!(row.get::<Uuid>("id").unwrap(), id);
    assert_eq!(row.get::<Timestamp>("session_start").unwrap(), at(1));
    assert_eq!(row.get::<Option<Timestamp>>("session_end").unwrap(), None);
    assert!(row.get::<bool>("end_inferred").unwrap());
    assert_eq!(
        row.get::<i64>("total_duration_ms").unwrap(),
        i64::from(i32::MAX)
    );
    assert!((row.get::<f64>("productivity_score").unwrap() - 62.5).abs() < f64::EPSILON);
    assert_eq!(
        row.get::<String>("session_type").unwrap(),
        "it's \\ a \"type\""
    );
    assert_eq!(row.get::<Option<String>>("project_id").unwrap(), None);
    assert_eq!(row.get::<serde_json::Value>("tags").unwrap(), tags);
    assert_eq!(row.get::<i64>("rev").unwrap(), 1);
    assert!(matches!(
        row.get::<String>("id"),
        Err(Error::WrongType { .. })
    ));
    assert!(matches!(
        row.get::<i64>("session_end"),
        Err(Error::WrongType { .. })
    ));
    assert!(matches!(
        row.get::<i64>("nothing"),
        Err(Error::NoColumn { .. })
    ));
    // Literals pass as they are, whatever they look like.
    let odd = world
        .acme
        .query(
            "SELECT 'a''b\\c' AS odd, '$1' AS dollar, 1.5 AS n FROM users",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(odd[0].get::<String>("odd").unwrap(), "a'b\\c");
    assert_eq!(odd[0].get::<String>("dollar").unwrap(), "$1");
    assert!((odd[0].get::<f64>("n").unwrap() - 1.5).abs() < f64::EPSILON);
}

async fn a_handle_never_moves_another_and_no_row_is_seen_from_two(world: World) {
    // The predecessor kept the tenant on one shared client: contexts set by concurrent tasks ran into each other.
    let tasks = (0..32).map(|n| {
        let (db, own) = (
            world.db.clone(),
            if n % 2 == 0 {
                world.acme.clone()
            } else {
                world.umbra.clone()
            },
        );
        tokio::spawn(async move {
            for _ in 0..4 {
                let again = db
                    .set_organization_context(own.tenant().id.as_uuid())
                    .await
                    .unwrap();
                for handle in [&own, &again] {
                    let rows = handle.query("SELECT email FROM users", &[]).await.unwrap();
                    let emails: Vec<String> =
                        rows.iter().map(|row| row.get("email").unwrap()).collect();
                    assert_eq!(emails, [format!("ada@{}.dev", own.tenant().domain)]);
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let without = world.db.query("SELECT * FROM users", &[]).await;
    assert!(matches!(without, Err(Error::Refused(_))), "{without:?}");
}

async fn what_was_deleted_is_gone_and_a_session_takes_its_calls_along(world: World) {
    let acme = &world.acme;
    let (first, second) = (add_session(acme, 1).await, add_session(acme, 2).await);
    for (n, session) in [first, first, second].into_iter().enumerate() {
        add_call(acme, 100 + n as u128, session, None).await;
    }
    let deleted = acme
        .query(
            "DELETE FROM metrics_sessions s WHERE s.id = $1 OR s.id = $1 RETURNING id",
            &[first.into()],
        )
        .await
        .unwrap();
    assert_eq!(deleted[0].get::<Uuid>("id").unwrap(), first);
    let left = |table: &'static str| async move {
        let sql = format!("SELECT count(*) AS n FROM {table}");
        acme.query(&sql, &[]).await.unwrap()[0]
            .get::<i64>("n")
            .unwrap()
    };
    assert_eq!(
        (left("metrics_sessions").await, left("tool_metrics").await),
        (1, 1)
    );
    let again = acme
        .execute(
            "DELETE FROM metrics_sessions WHERE id = $1",
            &[first.into()],
        )
        .await;
    assert_eq!(again.unwrap(), 0);
    let touched = acme
        .execute("UPDATE tool_metrics SET outcome = 'error'", &[])
        .await;
    assert_eq!(touched.unwrap(), 1);
    assert_eq!(
        acme.execute("DELETE FROM tool_metrics", &[]).await.unwrap(),
        1
    );
    assert_eq!(left("tool_metrics").await, 0);
}

async fn a_statement_that_fails_changes_nothing(world: World) {
    let acme = &world.acme;
    let before = world.all().await;
    let twice = "INSERT INTO users (id, email, created_at, updated_at) VALUES ($1, $2, $4, $4), ($3, $2, $4, $4)";
    let params = [
        Uuid::from_u128(5).into(),
        "bob@acme.dev".into(),
        Uuid::from_u128(6).into(),
        at(1).into(),
    ];
    assert_eq!(
        acme.execute(twice, &params).await.unwrap_err().kind(),
        "unique_violation"
    );
    let orphan = "UPDATE users SET role = 'king'";
    assert_eq!(acme.execute(orphan, &[]).await.unwrap_err().kind(), "check");
    let missing = "INSERT INTO metrics_sessions (id, user_id, session_start, session_type, source, created_at) \
                   VALUES ($1, $1, $2, 'agent', 'claude', $2)";
    let params = [Uuid::from_u128(7).into(), at(1).into()];
    assert_eq!(
        acme.execute(missing, &params).await.unwrap_err().kind(),
        "foreign_key"
    );
    assert_eq!(world.all().await, before);
}

async fn aggregates_joins_windows_and_common_table_expressions_are_taken(world: World) {
    let acme = &world.acme;
    let session = add_session(acme, 1).await;
    for (n, ms) in [10, 20, 60].into_iter().enumerate() {
        add_call(acme, 100 + n as u128, session, Some(ms)).await;
    }
    let rows = acme
        .query(
            "WITH calls AS (SELECT t.*, u.email FROM tool_metrics t JOIN users u ON u.id = t.user_id) \
             SELECT email, count(*) AS n, sum(total_duration_ms) AS total, avg(total_duration_ms) AS mean, \
                    max(total_duration_ms) AS longest \
             FROM calls WHERE started_at >= $1 GROUP BY email HAVING count(*) > 2 ORDER BY email LIMIT 5;",
            &[at(0).into()],
        )
        .await
        .unwrap();
    let row = &rows[0];
    assert_eq!(
        (
            row.get::<i64>("n").unwrap(),
            row.get::<i64>("total").unwrap(),
            row.get::<i64>("longest").unwrap()
        ),
        (3, 90, 60)
    );
    assert!((row.get::<f64>("mean").unwrap() - 30.0).abs() < 1e-9);
    let ranked = acme
        .query(
            "SELECT row_number() OVER (ORDER BY total_duration_ms DESC) AS place, total_duration_ms AS ms \
             FROM tool_metrics WHERE id IN (SELECT id FROM tool_metrics) AND tool_name LIKE 'B%' \
               AND CASE WHEN error_count > 0 THEN 0 ELSE 1 END = 1 \
             UNION ALL SELECT 9, cast('7' AS integer) FROM users ORDER BY place",
            &[],
        )
        .await
        .unwrap();
    let places: Vec<(i64, i64)> = ranked
        .iter()
        .map(|row| (row.get("place").unwrap(), row.get("ms").unwrap()))
        .collect();
    assert_eq!(places, [(1, 60), (2, 20), (3, 10), (9, 7)]);
    let updated = acme
        .execute(
            "UPDATE tool_metrics t SET tool_category = u.role FROM users u \
             WHERE u.id = t.user_id AND t.total_duration_ms > $1",
            &[15.into()],
        )
        .await
        .unwrap();
    assert_eq!(updated, 2);
}

async fn the_list_of_tenants_is_all_of_it_without_a_context_and_one_row_within(world: World) {
    let columns = "SELECT * FROM tenants ORDER BY domain";
    let all = world.db.query(columns, &[]).await.unwrap();
    let domains: Vec<String> = all.iter().map(|row| row.get("domain").unwrap()).collect();
    assert_eq!(domains, ["acme", "umbra"]);
    for organization in [&world.acme, &world.umbra] {
        let own = organization.query(columns, &[]).await.unwrap();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].columns(), all[0].columns());
        assert_eq!(
            own[0].get::<Uuid>("id").unwrap(),
            organization.tenant().id.as_uuid()
        );
        assert!(own[0].get::<bool>("is_active").unwrap());
        assert_eq!(
            own[0].get::<serde_json::Value>("metadata").unwrap(),
            json!({})
        );
        let joined = organization
            .query(
                "SELECT t.domain, u.email FROM tenants t, users u WHERE t.domain = $1",
                &["acme".into()],
            )
            .await
            .unwrap();
        assert_eq!(
            joined.len(),
            usize::from(organization.tenant().domain.as_str() == "acme")
        );
        let written = organization
            .execute("UPDATE tenants SET name = 'x'", &[])
            .await;
        assert!(matches!(written, Err(Error::Refused(_))), "{written:?}");
    }
}

async fn an_upsert_updates_and_returning_returns(world: World) {
    let sql = "INSERT INTO dashboard_configs (id, user_id, dashboard_name, created_at, updated_at) \
               VALUES ($1, $2, $3, $4, $4) \
               ON CONFLICT (id) DO UPDATE SET dashboard_name = excluded.dashboard_name \
               RETURNING dashboard_name, refresh_interval_seconds, widget_layout, is_public";
    for name in ["first", "second"] {
        let params = [
            Uuid::from_u128(4).into(),
            ADA.into(),
            name.into(),
            at(1).into(),
        ];
        let rows = world.acme.query(sql, &params).await.unwrap();
        assert_eq!(rows[0].get::<String>("dashboard_name").unwrap(), name);
        assert_eq!(rows[0].get::<i64>("refresh_interval_seconds").unwrap(), 60);
        assert_eq!(
            rows[0].get::<serde_json::Value>("widget_layout").unwrap(),
            json!({})
        );
        assert!(!rows[0].get::<bool>("is_public").unwrap());
    }
    let rows = world
        .acme
        .query("SELECT rev, digest FROM dashboard_configs", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<i64>("rev").unwrap(), 2);
}

async fn bad_parameters_are_told_before_anything_runs(world: World) {
    let query =
        async |sql: &str, params: &[Value]| world.acme.query(sql, params).await.unwrap_err();
    let sql = "SELECT * FROM users WHERE email = $1";
    assert_eq!(query(sql, &[]).await.kind(), "refused");
    assert_eq!(
        query(sql, &["a".into(), "b".into()]).await.kind(),
        "refused"
    );
    let nul = query(sql, &["a\0b".into()]).await;
    assert_eq!(
        nul.to_string(),
        "parameter $1: text contains a NUL character"
    );
    assert_eq!(query(sql, &[f64::NAN.into()]).await.kind(), "parameter");
}

#[tokio::test]
async fn what_is_written_locally_waits_for_synchronisation_and_a_deletion_too() {
    let world = World::local().await;
    let session = add_session(&world.acme, 1).await;
    let Side::Local(_, store) = &world.side else {
        unreachable!()
    };
    let tenant = store.tenant_by_id(world.acme.tenant().id).unwrap();
    #[allow(clippy::disallowed_methods)]
    let file = rusqlite::Connection::open(tenant.path()).unwrap();
    let last = || {
        file.query_row(
            "SELECT op, rev FROM change_log WHERE pk = ?1 ORDER BY seq DESC LIMIT 1",
            [session],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
        )
        .unwrap()
    };
    assert_eq!(last(), ("insert".into(), 1));
    world
        .acme
        .execute("UPDATE metrics_sessions SET project_id = 'mill'", &[])
        .await
        .unwrap();
    assert_eq!(last(), ("update".into(), 2));
    world
        .acme
        .execute("DELETE FROM metrics_sessions", &[])
        .await
        .unwrap();
    assert_eq!(last(), ("delete".into(), 3));
    // And it is the store's own row.
    let again = user(&tenant, "bob@acme.dev");
    let rows = world
        .acme
        .query("SELECT id FROM users WHERE email = 'bob@acme.dev'", &[])
        .await;
    assert_eq!(
        rows.unwrap()[0].get::<Uuid>("id").unwrap(),
        again.id.as_uuid()
    );
}
