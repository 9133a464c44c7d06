//! The store's rules, DESIGN §4: what is refused, what is kept, and who may read it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use millpond::domain::ids::TenantId;
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::tool_metric::{DurationSource, Outcome};
use millpond::store::{
    Error, Home, HookStore, MetricsFilter, MetricsKey, SessionFilter, SessionSort, Sighting, Store,
    TenantStore,
};

use crate::fixture::{Fixture, at, call, session, user};

#[test]
fn directories_are_0700_and_files_0600() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let home = fixture.store.home();
    assert_eq!(mode(home.root()), 0o700);
    assert_eq!(mode(tenant.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&home.registry_file()), 0o600);
    assert_eq!(mode(tenant.path()), 0o600);
}

#[test]
fn a_tenant_s_name_never_reaches_a_path() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("very-telling-client-name");
    assert!(!tenant.path().to_string_lossy().contains("telling"));
}

#[test]
fn a_taken_domain_is_a_unique_violation_and_leaves_nothing_behind() {
    let fixture = Fixture::new();
    fixture.tenant("acme");
    let again = NewTenant {
        id: TenantId::generate(),
        domain: Domain::parse("acme").unwrap(),
        name: TenantName::parse("name", "Other").unwrap(),
        plan: Plan::Basic,
        admin_email: None,
    };
    let refused = fixture.store.create_tenant(&again).unwrap_err();
    assert!(
        matches!(&refused, Error::UniqueViolation { table, columns } if table == "tenants" && columns == &["domain"]),
        "{refused}"
    );
    let directories = std::fs::read_dir(fixture.store.home().root().join("tenants"))
        .unwrap()
        .count();
    assert_eq!(directories, 1);
}

#[test]
fn a_file_that_belongs_to_another_tenant_is_refused() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme").path().to_owned();
    let umbra = fixture.tenant("umbra").path().to_owned();
    let home = fixture.store.home().clone();
    drop(fixture.store);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", acme.display()));
    }
    std::fs::copy(umbra, acme).unwrap();
    let store = Store::open(home).unwrap();
    let refused = store.tenant(&Domain::parse("acme").unwrap()).unwrap_err();
    assert!(matches!(refused, Error::WrongTenant { .. }), "{refused}");
}

#[test]
fn a_file_that_was_replaced_under_an_open_handle_is_refused_at_once() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    let umbra = fixture.tenant("umbra");
    let bob = user(&umbra, "bob@umbra.dev").id;
    umbra
        .write(|w| w.sessions().record(&session(bob, "secret", 0)))
        .unwrap();
    // The handle's first connection stays open on the file that was; only its second meets the other one.
    let begun = std::time::Instant::now();
    let refused = acme.read(|_| {
        replace(&acme, &umbra);
        acme.read(|r| r.sessions().count())
    });
    assert!(
        matches!(refused, Err(Error::WrongTenant { .. })),
        "{refused:?}"
    );
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    // A file that is gone is told as such too.
    let gone = umbra.read(|_| {
        std::fs::remove_file(umbra.path()).unwrap();
        umbra.read(|r| r.sessions().count())
    });
    assert!(matches!(gone, Err(Error::File { .. })), "{gone:?}");
}

/// Puts a copy of one tenant's file in the place of another's.
#[allow(clippy::disallowed_methods)]
fn replace(tenant: &TenantStore, by: &TenantStore) {
    let copy = tenant.path().with_file_name("copy.db");
    rusqlite::Connection::open(by.path())
        .unwrap()
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    std::fs::rename(&copy, tenant.path()).unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", tenant.path().display()));
    }
}

#[test]
fn a_home_that_is_not_there_is_not_made_by_opening_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("none");
    let refused = Store::open(Home::at(root.clone())).unwrap_err();
    assert!(matches!(refused, Error::NoHome { .. }), "{refused}");
    assert!(!root.exists());
}

#[test]
fn a_tenant_s_file_that_is_gone_is_an_error_and_not_a_fresh_empty_one() {
    let fixture = Fixture::new();
    let path = fixture.tenant("acme").path().to_owned();
    let home = fixture.store.home().clone();
    drop(fixture.store);
    std::fs::remove_file(&path).unwrap();
    let store = Store::open(home).unwrap();
    assert!(store.tenant(&Domain::parse("acme").unwrap()).is_err());
    assert!(!path.exists());
}

#[test]
fn the_log_stays_small_where_only_hooks_write() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    let (home, path) = (fixture.store.home().clone(), tenant.path().to_owned());
    drop((tenant, fixture.store));
    let session = session(ada.id, "s", 0);
    let mut largest = 0;
    for n in 0..200 {
        let mut store = HookStore::open(home.clone()).unwrap();
        let tenant = store.tenant(&Domain::parse("acme").unwrap()).unwrap();
        tenant
            .write(|w| {
                w.sessions().record(&session)?;
                w.tool_metrics()
                    .record(&call(&session, &format!("c{n}"), n))
            })
            .unwrap();
        drop((tenant, store));
        let log = std::fs::metadata(path.with_extension("db-wal"));
        largest = largest.max(log.map_or(0, |about| about.len()));
    }
    // Every row writes several pages: all of them in one log would be past 4 MiB.
    assert!((500_000..1_300_000).contains(&largest), "{largest}");
    let tenant = Store::open(home).unwrap();
    let tenant = tenant.tenant(&Domain::parse("acme").unwrap()).unwrap();
    assert_eq!(tenant.read(|r| r.tool_metrics().count()).unwrap(), 200);
}

#[test]
fn a_failed_transaction_leaves_no_trace() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    let result: Result<(), Error> = tenant.write(|w| {
        let session = session(ada.id, "s", 0);
        w.sessions().record(&session)?;
        w.tool_metrics().record(&call(&session, "c", 1))?;
        Err(Error::Busy {
            action: "be patient",
        })
    });
    assert!(result.is_err());
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 0);
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 0);
}

#[test]
fn a_sighting_inserts_then_raises_then_changes_nothing() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    let session = session(ada.id, "s", 0);
    let mut open = call(&session, "c", 1);
    open.outcome = Outcome::Unknown;
    open.total_duration_ms = None;
    open.duration_source = DurationSource::None;
    let closed = call(&session, "c", 1);
    let sightings = tenant
        .write(|w| {
            w.sessions().record(&session)?;
            [&open, &closed, &closed, &open]
                .map(|seen| w.tool_metrics().record(seen))
                .into_iter()
                .collect::<Result<Vec<_>, Error>>()
        })
        .unwrap();
    assert_eq!(
        sightings,
        [
            Sighting::Inserted,
            Sighting::Raised,
            Sighting::Unchanged,
            Sighting::Unchanged
        ]
    );
    let stored = tenant
        .read(|r| r.tool_metrics().find(closed.id))
        .unwrap()
        .unwrap();
    assert_eq!(stored, closed);
}

#[test]
fn pages_by_cursor_show_every_session_once_in_order() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    tenant
        .write(|w| {
            for n in 0..25 {
                // Two by two at the same moment: the id has to break the tie.
                w.sessions()
                    .record(&session(ada.id, &format!("s{n}"), n / 2))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    for sort in [SessionSort::Newest, SessionSort::Oldest] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = tenant
                .read(|r| r.sessions().list(&SessionFilter::default(), sort, 7, after))
                .unwrap();
            seen.extend(page.rows.iter().map(|row| (row.session_start, row.id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected = seen.clone();
        expected.sort();
        expected.dedup();
        if sort == SessionSort::Newest {
            expected.reverse();
        }
        assert_eq!((seen.len(), &seen), (25, &expected));
    }
}

#[test]
fn figures_group_by_tool_and_count_what_was_not_timed_apart() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    let session = session(ada.id, "s", 0);
    let mut failed = call(&session, "c2", 2);
    failed.outcome = Outcome::Error;
    failed.error_count = 1;
    failed.total_duration_ms = None;
    tenant
        .write(|w| {
            w.sessions().record(&session)?;
            w.tool_metrics().record(&call(&session, "c1", 1))?;
            w.tool_metrics().record(&failed)
        })
        .unwrap();
    for key in [
        MetricsKey::Tool,
        MetricsKey::Category,
        MetricsKey::Day,
        MetricsKey::User,
        MetricsKey::Project,
    ] {
        let rows = tenant
            .read(|r| r.metrics(key, MetricsFilter::default()))
            .unwrap();
        assert_eq!(rows.len(), 1, "{key:?}");
        let row = &rows[0];
        assert_eq!(
            (row.calls, row.errors, row.timed, row.total_duration_ms),
            (2, 1, 1, 40)
        );
        assert_eq!((row.first, row.last), (at(1), at(2)));
    }
    let none = MetricsFilter {
        since: Some(at(3)),
        ..MetricsFilter::default()
    };
    assert!(
        tenant
            .read(|r| r.metrics(MetricsKey::Tool, none))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn four_processes_that_start_at_once_make_one_home() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let children: Vec<_> = (0..4)
            .map(|_| {
                Command::new(env!("CARGO_BIN_EXE_millpond"))
                    .args([
                        "init",
                        "--tenant",
                        "acme",
                        "--name",
                        "Acme",
                        "--user",
                        "ada@acme.dev",
                        "--home",
                    ])
                    .arg(&home)
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let store = Store::open(Home::at(home)).unwrap();
        assert_eq!(store.tenants().unwrap().len(), 1);
    }
}

/// Cuts a file to nothing, log and all, as a file system that lost its data does.
fn empty(path: &std::path::Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::write(path, "").unwrap();
}

#[test]
fn a_file_that_lost_its_content_is_damaged_and_not_a_fresh_one() {
    let fixture = Fixture::new();
    let path = fixture.tenant("acme").path().to_owned();
    let home = fixture.store.home().clone();
    drop(fixture.store);
    empty(&path);
    let store = Store::open(home.clone()).unwrap();
    let refused = store.tenant(&Domain::parse("acme").unwrap()).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    drop(store);

    // A registry that is empty while there are tenants would forget them all, whoever opens it.
    empty(&home.registry_file());
    for refused in [Store::open(home.clone()), Store::init(home.clone())] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    }
    std::fs::remove_file(home.registry_file()).unwrap();
    assert!(Store::init(home.clone()).is_err());
    assert!(!home.registry_file().exists());
}

#[test]
fn a_home_whose_maker_was_killed_is_none_until_init_finishes_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path().join("home"));
    drop(Store::init(home.clone()).unwrap());
    empty(&home.registry_file());
    let refused = Store::open(home.clone()).unwrap_err();
    assert!(matches!(refused, Error::NoHome { .. }), "{refused:?}");
    assert_eq!(std::fs::metadata(home.registry_file()).unwrap().len(), 0);
    drop(Store::init(home.clone()).unwrap());
    assert!(Store::open(home).unwrap().tenants().unwrap().is_empty());
}

#[test]
fn asking_whether_a_tenant_is_being_synchronised_turns_no_sync_away() {
    let fixture = Fixture::new();
    let path = fixture.tenant("acme").path().to_owned();
    let acme = Domain::parse("acme").unwrap();
    drop(fixture.store.lock_sync(&acme).unwrap());
    // Whoever asks holds this one for a moment: a sync that begins just then waits for it to end.
    let asking = std::fs::File::open(path.with_file_name("syncing.lock")).unwrap();
    asking.lock_shared().unwrap();
    std::thread::scope(|threads| {
        let begins = threads.spawn(|| fixture.store.lock_sync(&acme));
        assert!(!fixture.store.is_syncing(&acme).unwrap());
        drop(asking);
        assert!(begins.join().unwrap().is_ok());
    });
    // And it holds nothing else: the lock itself is not asked.
    let taken = std::fs::File::open(path.with_file_name("sync.lock")).unwrap();
    taken.lock().unwrap();
    assert!(!fixture.store.is_syncing(&acme).unwrap());
    drop(taken);
    let lock = fixture.store.lock_sync(&acme).unwrap();
    assert!(fixture.store.is_syncing(&acme).unwrap());
    drop(lock);
    assert!(!fixture.store.is_syncing(&acme).unwrap());
}
