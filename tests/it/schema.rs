//! The schemas of a home's files: looking without touching, deploying, drafts and resets. Upgrades are tried with
//! migrations that the tests add to the embedded ones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use millpond::domain::tenant::Domain;
use millpond::store::schema::{DifferenceState, Drift, Schemas, new_migration};
use millpond::store::{Error, FileKind, Home, HookStore, Migrations, Store, TenantStore};

use crate::fixture::{Fixture, session, user};
use crate::workstation::Workstation;

fn domain(raw: &str) -> Domain {
    Domain::parse(raw).unwrap()
}

/// The embedded migrations and one more for tenants' files.
fn with_next(sql: &str) -> Migrations {
    let now = Migrations::embedded();
    let next = now.latest(FileKind::Tenant) + 1;
    let sql = format!("PRAGMA user_version = {next}; {sql}");
    now.with(FileKind::Tenant, &format!("V{next}__added"), &sql)
        .unwrap()
}

const NOTES: &str = "CREATE TABLE notes (text TEXT NOT NULL) STRICT;";

/// A connection that the program's own rules do not hold on: somebody's hand.
#[allow(clippy::disallowed_methods)]
fn by_hand(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[allow(clippy::disallowed_methods)]
fn number(path: &Path, sql: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn version(path: &Path) -> i64 {
    number(path, "SELECT user_version FROM pragma_user_version")
}

/// A home with tenants, each with a session, and nothing open.
struct Closed {
    _folder: Fixture,
    home: Home,
    tenants: Vec<TenantStore>,
}

fn closed(domains: &[&str]) -> Closed {
    let fixture = Fixture::new();
    let tenants: Vec<_> = domains.iter().map(|name| fixture.tenant(name)).collect();
    for tenant in &tenants {
        let ada = user(tenant, "ada@acme.dev");
        tenant
            .write(|w| w.sessions().record(&session(ada.id, "s", 0)).map(drop))
            .unwrap();
    }
    let home = fixture.store.home().clone();
    Closed {
        _folder: fixture,
        home,
        tenants,
    }
}

#[test]
fn looking_upgrades_nothing() {
    let closed = closed(&["acme"]);
    let schemas = Schemas::with(closed.home.clone(), with_next(NOTES)).unwrap();
    let before = version(closed.tenants[0].path());
    let status = schemas.tenant_status(&domain("acme")).unwrap();
    assert_eq!(
        (status.version, status.latest, status.drift),
        (before, before + 1, Drift::Behind)
    );
    assert_eq!(status.pending, [format!("V{}__added", before + 1)]);
    assert_eq!(status.differences, []);
    assert!(status.applied.iter().all(|applied| applied.matches));
    assert_eq!(i64::try_from(status.applied.len()).unwrap(), before);
    assert_eq!(version(closed.tenants[0].path()), before);
    let all = schemas.status().unwrap();
    assert_eq!((all.files.len(), all.failed.len()), (2, 0));
    assert_eq!(all.files[0].drift, Drift::None);
}

#[test]
fn a_hook_leaves_an_upgrade_to_others() {
    let closed = closed(&["acme"]);
    let path = closed.tenants[0].path();
    let before = version(path);
    let store = Store::open_with(closed.home.clone(), with_next(NOTES)).unwrap();
    let mut hook = HookStore::open_with(closed.home.clone(), with_next(NOTES)).unwrap();
    let refused = hook.tenant(&domain("acme")).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    assert_eq!(version(path), before);
    store.tenant(&domain("acme")).unwrap();
    assert_eq!(version(path), before + 1);
    hook.tenant(&domain("acme")).unwrap();
}

#[test]
fn a_deployment_copies_each_file_and_upgrades_it() {
    let closed = closed(&["acme", "umbra"]);
    let schemas = Schemas::with(closed.home.clone(), with_next(NOTES)).unwrap();
    let before = version(closed.tenants[0].path());
    let mut told = Vec::new();
    let deployed = schemas
        .deploy(None, |progress| told.push((progress.done, progress.total)))
        .unwrap();
    assert_eq!(told, [(1, 2), (2, 2)]);
    assert_eq!((deployed.upgraded.len(), deployed.failed.len()), (2, 0));
    for file in &deployed.upgraded {
        let copy = file.copy.as_ref().unwrap();
        let mode = std::fs::metadata(copy).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(version(copy), before);
        assert_eq!(number(copy, "SELECT count(*) FROM metrics_sessions"), 1);
    }
    for tenant in &closed.tenants {
        assert_eq!(number(tenant.path(), "SELECT count(*) FROM notes"), 0);
        assert_eq!(
            number(tenant.path(), "SELECT count(*) FROM metrics_sessions"),
            1
        );
    }
    let again = schemas.deploy(None, |_| {}).unwrap();
    assert_eq!((again.upgraded.len(), again.unchanged), (0, 3));
}

#[test]
fn a_tenant_that_fails_stays_as_it_was_and_the_others_are_done_and_the_next_run_goes_on() {
    let closed = closed(&["acme", "mid", "umbra"]);
    let mid = closed.tenants[1].path().to_owned();
    let before = version(&mid);
    // In the way of the second statement: what the first one made must not stay.
    by_hand(&mid, "CREATE TABLE notes (mine)");
    let migrations = with_next(&format!("CREATE TABLE half (x INTEGER) STRICT; {NOTES}"));
    let schemas = Schemas::with(closed.home.clone(), migrations).unwrap();
    let deployed = schemas.deploy(None, |_| {}).unwrap();
    assert_eq!(deployed.failed.len(), 1);
    assert_eq!(deployed.failed[0].domain, domain("mid"));
    assert!(matches!(deployed.failed[0].error, Error::Migration { .. }));
    assert_eq!(deployed.upgraded.len(), 2);
    assert_eq!(version(&mid), before);
    assert_eq!(
        number(
            &mid,
            "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"
        ),
        0
    );
    assert_eq!(number(&mid, "SELECT count(*) FROM metrics_sessions"), 1);

    by_hand(
        &mid,
        "DROP TABLE notes; UPDATE users SET first_name = 'Later'",
    );
    let again = schemas.deploy(None, |_| {}).unwrap();
    assert_eq!((again.upgraded.len(), again.failed.len()), (1, 0));
    // The copy is of the file that was upgraded, not of the one that an earlier run failed on.
    let copy = again.upgraded[0].copy.as_ref().unwrap();
    assert_eq!(
        number(
            copy,
            "SELECT count(*) FROM users WHERE first_name = 'Later'"
        ),
        1
    );
}

#[test]
fn of_two_migrations_the_first_does_not_stay_where_the_second_fails() {
    let closed = closed(&["acme"]);
    let path = closed.tenants[0].path();
    let before = version(path);
    let name = format!("V{}__broken", before + 2);
    let migrations = with_next(NOTES)
        .with(FileKind::Tenant, &name, "INSERT INTO nowhere VALUES (1)")
        .unwrap();
    let schemas = Schemas::with(closed.home.clone(), migrations).unwrap();
    assert_eq!(schemas.deploy(None, |_| {}).unwrap().failed.len(), 1);
    assert_eq!(version(path), before);
    let made = "SELECT count(*) FROM sqlite_schema WHERE name = 'notes'";
    assert_eq!(number(path, made), 0);
}

#[test]
fn a_deployment_with_nothing_to_do_waits_for_no_lock_and_makes_no_file() {
    let closed = closed(&["acme", "umbra"]);
    let names = |tenant: &TenantStore| -> Vec<_> {
        std::fs::read_dir(tenant.path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| !name.to_string_lossy().contains('-'))
            .collect()
    };
    let before: Vec<_> = closed.tenants.iter().map(names).collect();
    let held: Vec<_> = closed
        .tenants
        .iter()
        .map(|tenant| {
            let lock = tenant.path().with_file_name("migrate.lock");
            let file = std::fs::File::open(lock).unwrap();
            file.lock().unwrap();
            file
        })
        .collect();
    let schemas = Schemas::of(closed.home.clone()).unwrap();
    assert_eq!(schemas.deploy(None, |_| {}).unwrap().unchanged, 3);
    let after: Vec<_> = closed.tenants.iter().map(names).collect();
    assert_eq!(after, before);
    drop(held);
}

#[test]
fn a_canary_that_fails_or_comes_out_otherwise_keeps_every_other_tenant_from_being_touched() {
    let closed = closed(&["acme", "umbra"]);
    let (acme, umbra) = (closed.tenants[0].path(), closed.tenants[1].path());
    let before = version(acme);
    let schemas = Schemas::with(closed.home.clone(), with_next(NOTES)).unwrap();

    by_hand(umbra, "CREATE TABLE notes (mine)");
    let stopped = schemas.deploy(Some(&domain("umbra")), |_| {}).unwrap();
    assert!(stopped.stopped_at_canary);
    assert_eq!((version(acme), version(umbra)), (before, before));

    // Its migration goes through, but it is not what the migrations make.
    by_hand(umbra, "DROP TABLE notes; DROP INDEX metrics_sessions_start");
    let stopped = schemas.deploy(Some(&domain("umbra")), |_| {}).unwrap();
    assert!(stopped.stopped_at_canary);
    assert!(
        matches!(&stopped.failed[0].error, Error::Drift { objects, .. } if objects == &["metrics_sessions_start"])
    );
    assert_eq!((version(acme), version(umbra)), (before, before + 1));

    let nobody = schemas.deploy(Some(&domain("nobody")), |_| {}).unwrap_err();
    assert!(matches!(nobody, Error::NotFound { .. }));
    let past = schemas.deploy(Some(&domain("acme")), |_| {}).unwrap();
    assert!(!past.stopped_at_canary);
    assert_eq!(version(acme), before + 1);
}

#[test]
fn a_table_altered_by_hand_and_a_migration_that_was_edited_are_seen_as_drift() {
    let closed = closed(&["acme"]);
    let path = closed.tenants[0].path();
    let schemas = Schemas::of(closed.home.clone()).unwrap();
    assert_eq!(
        schemas.tenant_status(&domain("acme")).unwrap().drift,
        Drift::None
    );

    by_hand(path, "ALTER TABLE users ADD COLUMN nickname TEXT");
    let status = schemas.tenant_status(&domain("acme")).unwrap();
    assert_eq!(status.drift, Drift::Differs);
    assert_eq!(status.differences.len(), 1);
    let users = &status.differences[0];
    assert_eq!(
        (users.name.as_str(), users.state),
        ("users", DifferenceState::Altered)
    );
    assert!(users.extra.iter().any(|part| part.contains("nickname")));

    by_hand(path, "ALTER TABLE users DROP COLUMN nickname");
    by_hand(
        path,
        "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1",
    );
    let status = schemas.tenant_status(&domain("acme")).unwrap();
    assert_eq!(
        (status.drift, status.differences.len()),
        (Drift::Differs, 0)
    );
    assert!(!status.applied[0].matches);
}

#[test]
fn a_file_of_a_newer_program_is_told_and_neither_compared_nor_touched() {
    let closed = closed(&["acme", "umbra"]);
    let newer = Schemas::with(closed.home.clone(), with_next(NOTES)).unwrap();
    newer.deploy(None, |_| {}).unwrap();
    let older = Schemas::of(closed.home.clone()).unwrap();
    let status = older.tenant_status(&domain("acme")).unwrap();
    assert_eq!((status.drift, status.differences.len()), (Drift::Ahead, 0));
    let deployed = older.deploy(None, |_| {}).unwrap();
    assert!(
        deployed
            .failed
            .iter()
            .all(|failed| matches!(failed.error, Error::SchemaNewer { .. }))
    );
    assert_eq!(deployed.failed.len(), 2);
}

#[test]
fn opening_a_tenant_still_upgrades_its_own_file_and_no_other() {
    let closed = closed(&["acme", "umbra"]);
    let before = version(closed.tenants[0].path());
    let store = Store::open_with(closed.home.clone(), with_next(NOTES)).unwrap();
    store.tenant(&domain("acme")).unwrap();
    assert_eq!(version(closed.tenants[0].path()), before + 1);
    assert_eq!(version(closed.tenants[1].path()), before);
}

#[test]
fn a_draft_is_refused_where_work_counts_and_leaves_no_record_where_it_does_not() {
    let closed = closed(&["acme"]);
    let path = closed.tenants[0].path();
    let schemas = Schemas::of(closed.home.clone()).unwrap();
    let before = version(path);
    let draft = format!("PRAGMA user_version = 77; {NOTES}");
    let refused = schemas.push(&draft, None).unwrap_err();
    assert!(matches!(refused, Error::NotDevelopment { .. }), "{refused}");

    closed.home.mark_development().unwrap();
    assert_eq!(schemas.push(&draft, None).unwrap(), [domain("acme")]);
    assert_eq!(number(path, "SELECT count(*) FROM notes"), 0);
    assert_eq!(version(path), before);
    let status = schemas.tenant_status(&domain("acme")).unwrap();
    assert_eq!(status.differences[0].state, DifferenceState::Extra);
    assert_eq!(i64::try_from(status.applied.len()).unwrap(), before);

    // A second push fails in its middle, and what came before is not kept.
    let failed = schemas
        .push(&format!("CREATE TABLE first (x); {NOTES}"), None)
        .unwrap_err();
    assert!(
        matches!(
            failed,
            Error::Draft {
                source: Some(_),
                ..
            }
        ),
        "{failed}"
    );
    assert_eq!(
        number(
            path,
            "SELECT count(*) FROM sqlite_schema WHERE name = 'first'"
        ),
        0
    );
    let ended = schemas.push("COMMIT", None).unwrap_err();
    assert!(
        matches!(ended, Error::Draft { source: None, .. }),
        "{ended}"
    );
}

#[test]
fn a_reset_empties_the_file_for_those_who_have_it_open_and_keeps_the_tenant() {
    let closed = closed(&["acme", "umbra"]);
    let open = &closed.tenants[0];
    let file_id = "SELECT value FROM meta WHERE key = 'file_id'";
    #[allow(clippy::disallowed_methods)]
    let read = || -> String {
        rusqlite::Connection::open(open.path())
            .unwrap()
            .query_row(file_id, [], |row| row.get(0))
            .unwrap()
    };
    let before = read();
    by_hand(open.path(), "CREATE TABLE stray (x); DROP TABLE conflicts");
    let schemas = Schemas::of(closed.home.clone()).unwrap();
    schemas.reset_tenant(&domain("acme")).unwrap();
    assert_eq!(
        schemas.tenant_status(&domain("acme")).unwrap().drift,
        Drift::None
    );
    assert_ne!(read(), before);
    assert_eq!(open.read(|r| r.sessions().count()).unwrap(), 0);
    user(open, "bob@acme.dev");
    assert_eq!(closed.tenants[1].read(|r| r.sessions().count()).unwrap(), 1);
    drop(
        Store::open(closed.home.clone())
            .unwrap()
            .tenant(&domain("acme"))
            .unwrap(),
    );
}

#[test]
fn a_tenant_that_is_being_synchronised_is_not_reset() {
    let closed = closed(&["acme"]);
    let store = Store::open(closed.home.clone()).unwrap();
    let _held = store.lock_sync(&domain("acme")).unwrap();
    let schemas = Schemas::of(closed.home.clone()).unwrap();
    let refused = schemas.reset_tenant(&domain("acme")).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    assert_eq!(closed.tenants[0].read(|r| r.sessions().count()).unwrap(), 1);
}

#[test]
fn the_next_migration_is_begun_in_the_source_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let refused = new_migration(root, FileKind::Tenant, "add_notes").unwrap_err();
    assert!(matches!(refused, Error::NoSourceTree { .. }), "{refused}");

    std::fs::create_dir_all(root.join("migrations/tenant")).unwrap();
    std::fs::create_dir_all(root.join("src/deep")).unwrap();
    let manifest = |name: &str| {
        std::fs::write(
            root.join("Cargo.toml"),
            format!("[package]\nname = \"{name}\"\n"),
        )
        .unwrap();
    };
    manifest("somebody-elses");
    assert!(new_migration(root, FileKind::Tenant, "add_notes").is_err());
    manifest("millpond");
    std::fs::write(root.join("migrations/tenant/V9__last.sql"), "").unwrap();
    let made = new_migration(&root.join("src/deep"), FileKind::Tenant, "add_notes").unwrap();
    assert_eq!(made.version, 10);
    assert!(made.path.ends_with("migrations/tenant/V10__add_notes.sql"));
    let text = std::fs::read_to_string(&made.path).unwrap();
    assert!(text.contains("PRAGMA user_version = 10;"), "{text}");
    for bad in ["", "../x", "Add", "1st", "a b", &"a".repeat(61)] {
        let refused = new_migration(root, FileKind::Tenant, bad).unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{bad:?}");
    }
}

#[test]
fn the_commands_tell_as_json_ask_before_they_empty_and_refuse_what_is_for_development() {
    let ada = Workstation::of_ada();
    let status = ada.run(&["db", "status"]).json();
    assert_eq!(status["files"][0]["kind"], "registry");
    assert_eq!(status["files"][1]["domain"], "acme");
    assert_eq!(status["files"][1]["drift"], "none");
    assert_eq!(status["files"][1]["applied"][0]["matches"], true);
    let deployed = ada.run(&["db", "deploy", "--canary", "acme"]).json();
    assert_eq!(
        (&deployed["unchanged"], &deployed["stopped_at_canary"]),
        (&2.into(), &false.into())
    );
    assert_eq!(
        ada.run(&["db", "deploy", "--canary", "nobody"]).refused(1),
        "not_found"
    );

    let draft = ada.folder.path().join("draft.sql");
    std::fs::write(&draft, NOTES).unwrap();
    let push = ["db", "push", draft.to_str().unwrap()];
    assert_eq!(ada.run(&push).refused(4), "not_development");
    assert_eq!(
        ada.run(&["init", "--development"]).refused(4),
        "not_development"
    );
    assert_eq!(ada.run(&["db", "reset"]).refused(4), "not_confirmed");
    assert_eq!(
        ada.run(&["db", "reset", "--development", "--confirm", "umbra"])
            .refused(4),
        "not_confirmed"
    );
    let reset = ada
        .run(&["db", "reset", "--development", "--confirm", "acme"])
        .json();
    assert_eq!(
        (&reset["reset"][0], &reset["development"]),
        (&"acme".into(), &true.into())
    );

    assert_eq!(ada.run(&push).json()["pushed"][0], "acme");
    let diff = ada.run(&["db", "diff"]);
    assert_eq!(diff.code, 1);
    let table = &diff.any_json()["files"][1]["differences"][0];
    assert_eq!(
        (&table["name"], &table["state"]),
        (&"notes".into(), &"extra".into())
    );
    ada.run(&["db", "reset"]).json();
    ada.run(&["db", "diff"]).json();
    let mut outside = ada.command(&["db", "new", "add_notes"]);
    let ran = outside.current_dir(ada.folder.path()).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
}
