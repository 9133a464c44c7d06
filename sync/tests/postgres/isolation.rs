//! A device's credential opens its own users' rows in its own tenant, and nothing else.
//!
//! Real logins over TCP: two tenants, two users of one, two devices of one user.

use millpond_sync::change::Table;
use millpond_sync::port::{Offer, Remote};
use millpond_sync::postgres::central::{Central, Enrolment};
use tokio_postgres::Client;

use crate::attacks::{Control, Scene, all, insert_session};
use crate::bench::remote;
use crate::rows::{call, dashboard, first, raised, session};
use crate::support::{Database, enroll, new_tenant, raw, rows, scalar, sqlstate};

/// How many statements of [`all`] are tried: a lost group shows.
const ATTACKS: usize = 165;

struct World {
    _database: Database,
    central: Central,
    superuser: Client,
    ada: Enrolment,
    ada_second: Enrolment,
    bob: Enrolment,
    eve: Enrolment,
}

impl World {
    /// Ada with two devices and Bob in one tenant, Eve in another; everyone has pushed.
    async fn new() -> (Self, Scene) {
        let (database, central, _) = Database::with_tenant().await;
        central.create_tenant(&new_tenant("globex")).await.unwrap();
        let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
        let ada_second = enroll(&central, "acme", &["ada@acme.dev"]).await;
        let bob = enroll(&central, "acme", &["bob@acme.dev"]).await;
        let eve = enroll(&central, "globex", &["eve@globex.dev"]).await;
        let mut own_session = None;
        for enrolment in [&ada, &bob, &eve] {
            let work = session(enrolment.users[0].id);
            let changes = vec![
                work.clone(),
                call(&work),
                dashboard(enrolment.users[0].id, false),
            ];
            let mut remote = remote(enrolment);
            assert!(matches!(
                remote.offer(&first(changes)).await.unwrap(),
                Offer::Applied(_)
            ));
            remote.commit().await.unwrap();
            own_session.get_or_insert(work.id);
        }
        let scene = Scene {
            own: ada.schema_name.clone(),
            other: eve.schema_name.clone(),
            tenant: ada.tenant_id,
            other_tenant: eve.tenant_id,
            device: ada.device_id,
            other_device: bob.device_id,
            user: ada.users[0].id,
            colleague: bob.users[0].id,
            session: own_session.unwrap(),
        };
        let superuser = database.superuser().await;
        (
            Self {
                _database: database,
                central,
                superuser,
                ada,
                ada_second,
                bob,
                eve,
            },
            scene,
        )
    }
}

#[tokio::test]
async fn every_attack_with_a_devices_credential_is_denied() {
    let (world, scene) = World::new().await;
    let device = raw(&world.ada.url).await;
    // An attack that is let in may wait for a lock: that too must end, and fail the test.
    device
        .batch_execute("SET statement_timeout = '10s'")
        .await
        .unwrap();
    let attacks = all(&scene);
    let mut wrong = Vec::new();
    for attack in &attacks {
        // The same statement works for whoever has the right, so that its denial is about the right.
        if attack.control == Control::Succeeds {
            world.superuser.batch_execute("BEGIN").await.unwrap();
            if let Err(error) = run(&world.superuser, &attack.sql).await {
                wrong.push(format!("malformed ({error:?}): {}", attack.sql));
            }
            world.superuser.batch_execute("ROLLBACK").await.unwrap();
            device.batch_execute("BEGIN").await.unwrap();
        }
        match run(&device, &attack.sql).await {
            Err(error) if error.code().is_some_and(|code| code.code() == "42501") => {}
            other => wrong.push(format!("not denied ({other:?}): {}", attack.sql)),
        }
        device.batch_execute("ROLLBACK").await.unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} attacks denied with 42501", attacks.len());
    assert_eq!(attacks.len(), ATTACKS);
}

/// Runs statements; a COPY to the client needs a reader.
async fn run(client: &Client, sql: &str) -> Result<(), tokio_postgres::Error> {
    if sql.ends_with("TO STDOUT") {
        client.copy_out(sql).await.map(|_| ())
    } else {
        client.batch_execute(sql).await
    }
}

/// Reading others' rows in one's own tenant is no error: row-level security makes them invisible. So the proof is
/// that nothing comes back, by any way of asking, while the owner of the rows sees them. (EXPLAIN ANALYZE may tell how
/// many rows the policy took away, which is a count of the tenant's rows and nothing of their content.)
#[tokio::test]
async fn rows_of_other_users_are_invisible_whatever_asks_for_them() {
    let (world, scene) = World::new().await;
    let (ada, bob) = (raw(&world.ada.url).await, raw(&world.bob.url).await);
    let (own, colleague) = (&scene.own, scene.colleague);
    for table in Table::ALL {
        let name = format!("{own}.{}", table.name());
        let theirs = format!("SELECT id FROM {name} WHERE user_id = '{colleague}'");
        assert_eq!(rows(&world.superuser, &theirs).await.unwrap().len(), 1);
        assert_eq!(rows(&bob, &theirs).await.unwrap().len(), 1);
        let id = scalar(&bob, &theirs).await;
        for attempt in [
            theirs.clone(),
            format!("SELECT id FROM {name} WHERE user_id <> '{}'", scene.user),
            format!("SELECT id FROM {name} WHERE id = '{id}'"),
            format!("SELECT id FROM {name} WHERE id = '{id}' FOR UPDATE"),
            format!("UPDATE {name} SET rev = rev + 1 WHERE id = '{id}' RETURNING id, user_id"),
            format!(
                "UPDATE {name} SET rev = rev + 1 WHERE id <> ALL (SELECT id FROM {name}) RETURNING id"
            ),
        ] {
            assert_eq!(
                rows(&ada, &attempt).await.unwrap(),
                Vec::<Vec<_>>::new(),
                "{attempt}"
            );
        }
        let plan = rows(&ada, &format!("EXPLAIN (ANALYZE, VERBOSE) {theirs}"))
            .await
            .unwrap();
        assert!(
            plan[0][0].as_ref().unwrap().contains("actual time"),
            "{plan:?}"
        );
        assert!(
            plan[0][0].as_ref().unwrap().contains("rows=0 loops=1"),
            "{plan:?}"
        );
        assert!(!format!("{plan:?}").contains(&id));
        // Statistics hold values of rows: hidden where a policy stands.
        world
            .superuser
            .batch_execute(&format!("ANALYZE {name}"))
            .await
            .unwrap();
        let statistics = format!(
            "SELECT most_common_vals FROM pg_catalog.pg_stats WHERE schemaname = '{own}' AND tablename = '{}'",
            table.name()
        );
        assert!(
            !rows(&world.superuser, &statistics)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(rows(&ada, &statistics).await.unwrap(), Vec::<Vec<_>>::new());
        let rev = format!("SELECT rev FROM {name} WHERE id = '{id}'");
        assert_eq!(scalar(&world.superuser, &rev).await, "1");
    }
    let users = format!("SELECT id FROM {own}.users");
    assert_eq!(
        rows(&ada, &users).await.unwrap(),
        [[Some(scene.user.to_string())]]
    );
    assert_eq!(rows(&world.superuser, &users).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_row_of_another_user_cannot_be_overwritten_by_its_id() {
    let (world, scene) = World::new().await;
    let ada = raw(&world.ada.url).await;
    let theirs = format!(
        "SELECT id FROM {}.metrics_sessions WHERE user_id = '{}'",
        scene.own, scene.colleague
    );
    let id = scalar(&world.superuser, &theirs).await;
    let insert = insert_session(&scene.own, scene.user, "", "");
    let own_id = insert.split('\'').nth(1).unwrap().to_owned();
    let take = format!(
        "{} ON CONFLICT (id) DO UPDATE SET rev = excluded.rev + 100 RETURNING id",
        insert.replace(&own_id, &id)
    );
    assert_eq!(sqlstate(ada.batch_execute(&take).await), "42501");
    let rev = format!(
        "SELECT rev FROM {}.metrics_sessions WHERE id = '{id}'",
        scene.own
    );
    assert_eq!(scalar(&world.superuser, &rev).await, "1");
}

#[tokio::test]
async fn a_user_whom_nobody_made_is_denied_and_no_other_error() {
    let (world, scene) = World::new().await;
    let ada = raw(&world.ada.url).await;
    let nobody = insert_session(&scene.own, uuid::Uuid::new_v4(), "", "");
    assert_eq!(sqlstate(ada.batch_execute(&nobody).await), "42501");
}

#[tokio::test]
async fn becoming_ones_own_roles_gains_nothing_and_forges_no_device() {
    let (world, scene) = World::new().await;
    let ada = raw(&world.ada.url).await;
    let writer = format!("SET ROLE tw_{}", scene.tenant.simple());
    // From PostgreSQL 16 on it is denied; on 15 membership brings it, and it shows fewer rows, not more.
    if ada.batch_execute(&writer).await.is_ok() {
        let seen = format!("SELECT count(id) FROM {}.metrics_sessions", scene.own);
        assert_eq!(scalar(&ada, &seen).await, "0");
        let insert = insert_session(&scene.own, scene.user, "", "");
        assert_eq!(sqlstate(ada.batch_execute(&insert).await), "42501");
    }
}

/// Whoever has some right on a thing may say GRANT: the server only warns, and gives nothing.
#[tokio::test]
async fn a_grant_that_only_warns_gives_nothing() {
    let (world, scene) = World::new().await;
    let ada = raw(&world.ada.url).await;
    let own = &scene.own;
    let rights = format!(
        "SELECT concat(nspacl, (SELECT string_agg(attacl::text, ' ' ORDER BY attrelid, attnum) \
         FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = n.oid)) \
         FROM pg_namespace n WHERE nspname = '{own}'"
    );
    let before = scalar(&world.superuser, &rights).await;
    for grant in [
        format!("GRANT SELECT (id) ON {own}.metrics_sessions TO PUBLIC"),
        format!(
            "GRANT UPDATE (rev) ON {own}.metrics_sessions TO dv_{}",
            world.bob.device_id.simple()
        ),
        format!("GRANT USAGE, CREATE ON SCHEMA {own} TO PUBLIC"),
        format!(
            "GRANT CREATE ON SCHEMA {own} TO dv_{}",
            world.ada.device_id.simple()
        ),
    ] {
        // Denied or warned: what counts is what it changed.
        let _ = ada.batch_execute(&grant).await;
        assert_eq!(scalar(&world.superuser, &rights).await, before, "{grant}");
    }
}

#[tokio::test]
async fn a_second_device_of_the_same_user_goes_on_where_the_first_stopped() {
    let (world, scene) = World::new().await;
    let second = raw(&world.ada_second.url).await;
    let seen = format!("SELECT id FROM {}.metrics_sessions", scene.own);
    assert_eq!(
        rows(&second, &seen).await.unwrap(),
        [[Some(scene.session.to_string())]]
    );

    // It raises the first one's row, and hangs a call on it.
    let mut work = session(scene.user);
    work.id = scene.session;
    let mut device = remote(&world.ada_second);
    let batch = first(vec![raised(&work, 2), call(&work)]);
    let Offer::Applied(receipt) = device.offer(&batch).await.unwrap() else {
        panic!()
    };
    device.commit().await.unwrap();
    assert_eq!((receipt.applied, receipt.rejects.len()), (2, 0));
    let rev = format!(
        "SELECT rev || ' ' || device_id FROM {}.metrics_sessions WHERE id = '{}'",
        scene.own, work.id
    );
    // The device stays what it was: where the row first came from.
    assert_eq!(
        scalar(&world.superuser, &rev).await,
        format!("2 {}", world.ada.device_id)
    );

    // But the first one's stream is its own: for the second it does not exist.
    let mut stranger = remote(&world.ada_second);
    let streams = format!(
        "SELECT stream_id || ' ' || batch_id FROM {}.sync_streams WHERE device_id = '{}'",
        scene.own, world.ada.device_id
    );
    let found = scalar(&world.superuser, &streams).await;
    let (stream, at) = found.split_once(' ').unwrap();
    let mut stolen = first(vec![session(scene.user)]);
    stolen.stream_id = stream.parse().unwrap();
    assert_eq!(stranger.offer(&stolen).await.unwrap(), Offer::NoStream);
    stolen.prev_batch_id = Some(at.parse().unwrap());
    assert_eq!(stranger.offer(&stolen).await.unwrap(), Offer::NoStream);
}

#[tokio::test]
async fn a_device_connects_to_its_database_and_no_other_and_at_most_four_times() {
    let (world, _) = World::new().await;
    let other = Database::create().await;
    other.central().await.init().await.unwrap();
    let database = |url: &str| {
        url.rsplit_once('/')
            .unwrap()
            .1
            .split('?')
            .next()
            .unwrap()
            .to_owned()
    };
    let elsewhere = world
        .eve
        .url
        .replace(&database(&world.eve.url), &database(&other.url));
    // The role may connect wherever `millpond_device` may; there it has no schema.
    if let Ok((client, connection)) =
        tokio_postgres::connect(&elsewhere, tokio_postgres::NoTls).await
    {
        tokio::spawn(async move {
            let _ = connection.await;
        });
        assert_eq!(
            sqlstate(client.batch_execute("SELECT 1 FROM public.tenants").await),
            "42501"
        );
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(raw(&world.bob.url).await);
    }
    let fifth = tokio_postgres::connect(&world.bob.url, tokio_postgres::NoTls)
        .await
        .map(|_| ());
    assert_eq!(sqlstate(fifth), "53300");
}

#[tokio::test]
async fn a_session_held_open_is_cut_off_by_revocation_in_the_middle_of_a_transaction() {
    let (world, scene) = World::new().await;
    let held = raw(&world.ada.url).await;
    held.batch_execute("BEGIN").await.unwrap();
    held.batch_execute(&insert_session(&scene.own, scene.user, "", ""))
        .await
        .unwrap();
    assert_eq!(
        world
            .central
            .revoke(world.ada.device_id)
            .await
            .unwrap()
            .sessions_ended,
        1
    );
    assert!(held.batch_execute("COMMIT").await.is_err());
    let count = format!(
        "SELECT count(*) FROM {}.metrics_sessions WHERE user_id = '{}'",
        scene.own, scene.user
    );
    assert_eq!(scalar(&world.superuser, &count).await, "1");
    // The other device of the same person is not concerned.
    assert_eq!(
        scalar(&raw(&world.ada_second.url).await, &count.replace('*', "id")).await,
        "1"
    );
}
