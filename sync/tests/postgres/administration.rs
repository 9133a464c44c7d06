//! What an admin does: set up, make tenants, enrol, report, migrate.

use millpond_sync::postgres::central::{
    Central, CentralError, Drift, Migrated, NewTenant, OpenDoor, Plan,
};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};
use uuid::Uuid;

use crate::support::{Database, enroll, new_tenant, raw, rows, scalar, sqlstate};

#[tokio::test]
async fn set_up_twice_changes_nothing() {
    let database = Database::create().await;
    let central = database.central().await;
    assert_eq!(here(central.init().await.unwrap()), []);
    let superuser = database.superuser().await;
    let acls =
        "SELECT string_agg(proacl::text, ' ' ORDER BY oid) FROM pg_proc WHERE proacl IS NOT NULL";
    let before = scalar(&superuser, acls).await;
    assert_eq!(here(central.init().await.unwrap()), []);
    assert_eq!(scalar(&superuser, acls).await, before);
}

#[tokio::test]
async fn a_database_that_is_not_set_up_is_told_as_such() {
    let central = Database::create().await.central().await;
    for error in [
        central.status().await.map(|_| ()).unwrap_err(),
        central.tenants().await.map(|_| ()).unwrap_err(),
        central
            .create_tenant(&new_tenant("acme"))
            .await
            .map(|_| ())
            .unwrap_err(),
        central
            .enroll("acme", &["a@b".into()], None)
            .await
            .map(|_| ())
            .unwrap_err(),
        central.migrate().await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(error, CentralError::NotInitialised), "{error:?}");
    }
}

/// The doors of the database itself: which others there are depends on the other tests.
fn here(doors: Vec<OpenDoor>) -> Vec<OpenDoor> {
    doors
        .into_iter()
        .filter(|door| door.kind != "other database")
        .collect()
}

#[tokio::test]
async fn another_database_that_lets_everyone_in_is_named_and_left_alone() {
    let central = Database::create().await.central().await;
    let doors = central.init().await.unwrap();
    let named = doors
        .iter()
        .any(|door| door.kind == "other database" && door.name == "postgres");
    assert!(named, "{doors:?}");
}

/// As on a managed server: the login owns the database and has CREATEROLE, and no more.
#[tokio::test]
async fn without_superuser_everything_works_and_what_stays_open_is_named() {
    // A cluster of its own: roles belong to the cluster, and this admin must make them all.
    let server = PrivateServer::start(&PrivateServerOptions::default()).unwrap();
    let superuser = raw(&server.admin_url()).await;
    superuser
        .batch_execute("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'pw'")
        .await
        .unwrap();
    superuser
        .batch_execute("CREATE DATABASE managed OWNER boss")
        .await
        .unwrap();
    let url = format!("postgresql://boss:pw@127.0.0.1:{}/managed", server.port());
    let central = Central::connect(&Endpoint::parse(&url).unwrap())
        .await
        .unwrap();

    let open = central.init().await.unwrap();
    assert!(
        open.iter()
            .any(|door| door.name.starts_with("pg_advisory_lock")),
        "{open:?}"
    );
    assert!(
        open.iter().any(|door| door.name.starts_with("lo_create")),
        "{open:?}"
    );
    // What it owns, it closed.
    assert!(
        !open
            .iter()
            .any(|door| door.kind == "database" || door.kind == "schema"),
        "{open:?}"
    );
    assert_eq!(central.init().await.unwrap(), open);

    central.create_tenant(&new_tenant("acme")).await.unwrap();
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let device = raw(&ada.url).await;
    let count = format!("SELECT count(id) FROM {}.users", ada.schema_name);
    assert_eq!(scalar(&device, &count).await, "1");
    let status = central.status().await.unwrap();
    assert_eq!(status.open_doors, open);
    assert_eq!(
        (status.tenants[0].drift, status.tenants[0].devices),
        (Drift::None, 1)
    );

    // Closed by a superuser later, they stay closed, and another run as the owner is no error.
    let by_superuser = Endpoint::parse(&server.url("managed")).unwrap();
    let by_superuser = Central::connect(&by_superuser).await.unwrap();
    assert_eq!(here(by_superuser.init().await.unwrap()), []);
    assert_eq!(here(central.init().await.unwrap()), []);

    let revoked = central.revoke(ada.device_id).await.unwrap();
    assert_eq!(revoked.sessions_ended, 1);
    assert!(device.simple_query(&count).await.is_err());
}

#[tokio::test]
async fn a_tenant_exists_once() {
    let (_database, central, tenant) = Database::with_tenant().await;
    let again = central
        .create_tenant(&new_tenant("acme"))
        .await
        .unwrap_err();
    assert!(
        matches!(again, CentralError::UniqueViolation { what: "tenant", .. }),
        "{again:?}"
    );
    let same_id = NewTenant {
        id: Some(tenant.id),
        domain: "other".into(),
        name: "Other".into(),
        plan: Plan::Enterprise,
    };
    let again = central.create_tenant(&same_id).await.unwrap_err();
    assert!(
        matches!(again, CentralError::UniqueViolation { .. }),
        "{again:?}"
    );
    assert_eq!(
        central.tenants().await.unwrap(),
        std::slice::from_ref(&tenant)
    );
    assert_eq!(central.tenant("acme").await.unwrap(), tenant);
    assert!(matches!(
        central.tenant("nobody").await,
        Err(CentralError::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_tenant_keeps_the_id_that_its_workstation_gave_it() {
    let (_database, central, _) = Database::with_tenant().await;
    let id = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + rand_u64());
    let new = NewTenant {
        id: Some(id),
        ..new_tenant("globex")
    };
    let tenant = central.create_tenant(&new).await.unwrap();
    assert_eq!(tenant.id, id);
    assert_eq!(tenant.schema_name, format!("t_{}", id.simple()));
}

fn rand_u64() -> u128 {
    Uuid::new_v4().as_u128() >> 80
}

#[tokio::test]
async fn a_malformed_domain_name_or_email_reaches_no_statement() {
    let (_database, central, _) = Database::with_tenant().await;
    for domain in ["../x", "a\"b", &"a".repeat(300)] {
        let error = central
            .create_tenant(&new_tenant(domain))
            .await
            .unwrap_err();
        assert!(
            matches!(error, CentralError::Invalid { what: "domain" }),
            "{error:?}"
        );
    }
    let nameless = NewTenant {
        name: String::new(),
        ..new_tenant("fine")
    };
    assert!(matches!(
        central.create_tenant(&nameless).await,
        Err(CentralError::Invalid { .. })
    ));
    for emails in [vec![], vec!["nobody".to_owned()], vec!["a@b\0".to_owned()]] {
        let error = central.enroll("acme", &emails, None).await.unwrap_err();
        assert!(
            matches!(error, CentralError::Invalid { what: "email" }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_enrolment_holds_what_a_workstation_needs_and_shows_no_secret() {
    let (database, central, tenant) = Database::with_tenant().await;
    let ada = enroll(
        &central,
        "acme",
        &["Ada@acme.dev", "bob@acme.dev", "ada@acme.dev"],
    )
    .await;
    assert_eq!((ada.domain.as_str(), ada.tenant_id), ("acme", tenant.id));
    // One user per person, however the email is written, with the id that every workstation computes.
    assert_eq!(ada.users.len(), 2);
    assert_eq!(ada.users[0].id, Uuid::new_v5(&tenant.id, b"ada@acme.dev"));
    assert_eq!(ada.users[0].role, "developer");
    let password = ada.url.split([':', '@']).nth(2).unwrap();
    assert_eq!(password.len(), 64);
    assert!(!format!("{ada:?}").contains(password));
    // The server keeps a verifier, and its log of statements would show no more.
    let superuser = database.superuser().await;
    let stored = format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'dv_{}'",
        ada.device_id.simple()
    );
    assert!(
        scalar(&superuser, &stored)
            .await
            .starts_with("SCRAM-SHA-256$")
    );
    drop(raw(&ada.url).await);
    // A second device of the same person finds the same user.
    let second = enroll(&central, "acme", &["ADA@acme.dev"]).await;
    assert_eq!(second.users[0].id, ada.users[0].id);
    assert_eq!(second.users[0].email, "Ada@acme.dev");
}

#[tokio::test]
async fn an_email_that_passed_on_makes_another_user() {
    let (database, central, tenant) = Database::with_tenant().await;
    let first = enroll(&central, "acme", &["info@acme.dev"]).await.users[0].id;
    let superuser = database.superuser().await;
    let renamed = format!(
        "UPDATE {}.users SET email = 'ada@acme.dev'",
        tenant.schema_name
    );
    superuser.batch_execute(&renamed).await.unwrap();
    assert_ne!(
        enroll(&central, "acme", &["info@acme.dev"]).await.users[0].id,
        first
    );
    assert_eq!(
        enroll(&central, "acme", &["ada@acme.dev"]).await.users[0].id,
        first
    );
}

#[tokio::test]
async fn a_public_url_leads_devices_another_way() {
    let (_database, central, _) = Database::with_tenant().await;
    let public = Endpoint::parse_location("postgresql://db.example:6432").unwrap();
    let ada = central
        .enroll("acme", &["ada@acme.dev".into()], Some(&public))
        .await
        .unwrap();
    let (_, location) = ada.url.split_once('@').unwrap();
    assert!(location.starts_with("db.example:6432/test_"), "{location}");
    assert!(location.ends_with("?sslmode=verify-full"), "{location}");
}

#[tokio::test]
async fn a_revoked_device_is_told_so_and_its_open_session_is_cut_off() {
    let (database, central, _) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let bob = enroll(&central, "acme", &["bob@acme.dev"]).await;
    let (held, other) = (raw(&ada.url).await, raw(&bob.url).await);
    let count = format!("SELECT count(id) FROM {}.users", ada.schema_name);
    assert_eq!(scalar(&held, &count).await, "1");

    let revoked = central.revoke(ada.device_id).await.unwrap();
    assert_eq!((revoked.sessions_ended, revoked.already), (1, false));

    let memberships = format!(
        "SELECT count(*) FROM pg_auth_members WHERE member = 'dv_{}'::regrole",
        ada.device_id.simple()
    );
    assert_eq!(scalar(&database.superuser().await, &memberships).await, "0");
    assert!(held.simple_query(&count).await.is_err());
    let refused = tokio_postgres::connect(&ada.url, tokio_postgres::NoTls)
        .await
        .map(|_| ());
    assert_eq!(sqlstate(refused), "28000");
    assert_eq!(scalar(&other, &count).await, "1");
    assert!(central.revoke(ada.device_id).await.unwrap().already);
    assert!(matches!(
        central.revoke(Uuid::new_v4()).await,
        Err(CentralError::NotFound { what: "device", .. })
    ));
    assert_eq!(central.status().await.unwrap().tenants[0].devices, 1);
}

#[tokio::test]
async fn without_its_memberships_an_open_session_can_do_nothing_even_if_it_is_not_ended() {
    let (database, central, _) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let held = raw(&ada.url).await;
    let role = ada.device_id.simple();
    let superuser = database.superuser().await;
    let revoke = format!(
        "REVOKE tw_{}, us_{} FROM dv_{role}",
        ada.tenant_id.simple(),
        ada.users[0].id.simple()
    );
    superuser.batch_execute(&revoke).await.unwrap();
    let count = format!("SELECT count(id) FROM {}.users", ada.schema_name);
    assert_eq!(sqlstate(held.simple_query(&count).await), "42501");
}

#[tokio::test]
async fn a_tenant_that_fails_is_recorded_and_passed_over() {
    let (database, central, acme) = Database::with_tenant().await;
    let globex = central.create_tenant(&new_tenant("globex")).await.unwrap();
    assert_eq!(central.migrate().await.unwrap(), Migrated::default());

    // Both back to nothing, as after a crash between the row and the schema; one of them obstructed.
    let superuser = database.superuser().await;
    for tenant in [&acme, &globex] {
        let schema = &tenant.schema_name;
        superuser
            .batch_execute(&format!(
                "DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema} AUTHORIZATION millpond_owner"
            ))
            .await
            .unwrap();
    }
    superuser
        .batch_execute("UPDATE control.tenant_schemas SET version = 0, checksum = ''")
        .await
        .unwrap();
    superuser
        .batch_execute(&format!(
            "CREATE TABLE {}.tool_metrics ()",
            acme.schema_name
        ))
        .await
        .unwrap();

    let migrated = central.migrate().await.unwrap();
    assert_eq!(migrated.done, ["globex"]);
    assert_eq!(migrated.failed.len(), 1);
    assert_eq!(migrated.failed[0].domain, "acme");
    assert_eq!(migrated.failed[0].sqlstate.as_deref(), Some("42P07"));
    let status = central.status().await.unwrap();
    assert_eq!(status.tenants[0].drift, Drift::Behind);
    assert!(
        status.tenants[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("tool_metrics")
    );
    assert_eq!(status.tenants[1].drift, Drift::None);
    // Nothing is half made: not even the first table is there.
    let made = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}' AND tablename = 'users'",
        acme.schema_name
    );
    assert_eq!(scalar(&superuser, &made).await, "0");

    superuser
        .batch_execute(&format!("DROP TABLE {}.tool_metrics", acme.schema_name))
        .await
        .unwrap();
    assert_eq!(central.migrate().await.unwrap().done, ["acme"]);
    assert_eq!(central.status().await.unwrap().tenants[0].last_error, None);
}

#[tokio::test]
async fn a_schema_newer_than_the_program_or_with_other_content_is_told_as_drift() {
    let (database, central, _) = Database::with_tenant().await;
    let superuser = database.superuser().await;
    superuser
        .batch_execute("UPDATE control.tenant_schemas SET version = 99")
        .await
        .unwrap();
    assert_eq!(
        central.status().await.unwrap().tenants[0].drift,
        Drift::Ahead
    );
    assert_eq!(central.migrate().await.unwrap(), Migrated::default());
    superuser
        .batch_execute("UPDATE control.tenant_schemas SET version = 1, checksum = 'x'")
        .await
        .unwrap();
    assert_eq!(
        central.status().await.unwrap().tenants[0].drift,
        Drift::Differs
    );
}

#[tokio::test]
async fn an_obstructed_migration_gives_way_instead_of_holding_up_devices() {
    let (database, central, acme) = Database::with_tenant().await;
    let superuser = database.superuser().await;
    superuser
        .batch_execute("UPDATE control.tenant_schemas SET version = 0")
        .await
        .unwrap();
    superuser.batch_execute("BEGIN").await.unwrap();
    let lock = format!("LOCK TABLE {}.refinery_schema_history", acme.schema_name);
    superuser.batch_execute(&lock).await.unwrap();
    let failed = central.migrate().await.unwrap().failed;
    assert_eq!(failed[0].sqlstate.as_deref(), Some("55P03"));
}

#[tokio::test]
async fn a_migration_with_nothing_to_do_ends_with_the_query_that_finds_nothing() {
    let (database, central, _) = Database::with_tenant().await;
    for n in 0..5 {
        central
            .create_tenant(&new_tenant(&format!("tenant{n}")))
            .await
            .unwrap();
    }
    assert_eq!(central.migrate().await.unwrap(), Migrated::default());
    let superuser = database.superuser().await;
    // One session beside this one, and the last that it ran is the first that a migration runs.
    let others = "SELECT query FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let last = rows(&superuser, others).await.unwrap();
    assert_eq!(last.len(), 1, "{last:?}");
    assert!(
        last[0][0]
            .as_ref()
            .unwrap()
            .starts_with("SELECT t.id, t.domain FROM control.tenant_schemas")
    );
}
