//! The push keeps its word: each row once, each row told.

use std::time::Duration;

use millpond_sync::change::{Batch, Value};
use millpond_sync::fault::Fault;
use millpond_sync::port::{Offer, Remote};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};
use millpond_sync::postgres::push::{PostgresRemote, PushLimits};
use uuid::Uuid;

use crate::bench::{Bench, applied, remote};
use crate::rows::{call, dashboard, first, next, raised, session, with};
use crate::support::{Database, enroll, scalar};

#[tokio::test]
async fn a_batch_arrives_with_every_value_and_the_servers_stamps() {
    let mut bench = Bench::new().await;
    let work = session(bench.user());
    let tool = call(&work);
    let board = dashboard(bench.user(), true);
    let batch = first(vec![work.clone(), tool.clone(), board.clone()]);
    assert_eq!(bench.push(&batch).await, applied(3));
    let whole = "concat_ws('|', session_id, tool_name, extract(epoch FROM started_at)::text, parameters, rev, \
                 encode(digest, 'hex'), tenant_id, device_id, average_duration_ms IS NULL)";
    assert_eq!(
        bench.value("tool_metrics", whole, tool.id).await,
        format!(
            "{}|Bash|1767225600.000001|{{\"a\": [1, \"ä\"]}}|1|{}|{}|{}|t",
            work.id,
            "01".repeat(16),
            bench.ada.tenant_id,
            bench.ada.device_id
        )
    );
    assert_eq!(
        bench
            .value("metrics_sessions", "productivity_score", work.id)
            .await,
        "81.5"
    );
    assert_eq!(
        bench
            .value("dashboard_configs", "is_default", board.id)
            .await,
        "t"
    );
}

#[tokio::test]
async fn a_batch_pushed_twice_is_stored_once() {
    let mut bench = Bench::new().await;
    let batch = first(vec![session(bench.user())]);
    bench.push(&batch).await;
    assert_eq!(bench.offer(&batch).await.unwrap(), Offer::AlreadyApplied);
    assert_eq!(bench.count("metrics_sessions").await, 1);
}

#[tokio::test]
async fn an_offer_that_is_not_committed_leaves_nothing() {
    let mut bench = Bench::new().await;
    let batch = first(vec![session(bench.user())]);
    assert_eq!(
        bench.offer(&batch).await.unwrap(),
        Offer::Applied(applied(1))
    );
    assert_eq!(bench.count("metrics_sessions").await, 0);
    // Offered again it is applied again: the first was given up.
    assert_eq!(bench.push(&batch).await, applied(1));
    assert_eq!(bench.count("metrics_sessions").await, 1);
    assert_eq!(
        bench.remote.commit().await.unwrap_err().fault,
        Fault::Systemic
    );
}

#[tokio::test]
async fn a_lost_acknowledgement_is_found_out_by_offering_again() {
    let mut bench = Bench::new().await;
    let batch = first(vec![session(bench.user())]);
    bench.push(&batch).await;
    // The program that committed died before it could note it down; this is the one that starts after.
    let mut restarted = remote(&bench.ada);
    assert_eq!(
        restarted.offer(&batch).await.unwrap(),
        Offer::AlreadyApplied
    );
    let second = next(&batch, vec![session(bench.user())]);
    assert_eq!(
        restarted.offer(&second).await.unwrap(),
        Offer::Applied(applied(1))
    );
    restarted.commit().await.unwrap();
    assert_eq!(bench.count("metrics_sessions").await, 2);
}

#[tokio::test]
async fn a_stream_that_stands_elsewhere_says_where() {
    let mut bench = Bench::new().await;
    let one = first(vec![session(bench.user())]);
    let two = next(&one, vec![session(bench.user())]);
    let three = next(&two, vec![session(bench.user())]);
    bench.push(&one).await;
    assert_eq!(bench.offer(&three).await.unwrap(), Offer::At(one.batch_id));
    bench.push(&two).await;
    bench.push(&three).await;
    // A restored file offers what has long been passed.
    assert_eq!(bench.offer(&two).await.unwrap(), Offer::At(three.batch_id));
    let other_first = Batch {
        batch_id: Uuid::new_v4(),
        ..one.clone()
    };
    assert_eq!(
        bench.offer(&other_first).await.unwrap(),
        Offer::At(three.batch_id)
    );
    assert_eq!(bench.count("metrics_sessions").await, 3);
    let stream = format!(
        "SELECT rows || ' ' || batches FROM {}.sync_streams",
        bench.ada.schema_name
    );
    assert_eq!(scalar(&bench.superuser, &stream).await, "3 3");
}

#[tokio::test]
async fn an_unknown_stream_is_told_as_such() {
    let mut bench = Bench::new().await;
    let one = first(vec![session(bench.user())]);
    let two = next(&one, vec![session(bench.user())]);
    assert_eq!(bench.offer(&two).await.unwrap(), Offer::NoStream);
    assert_eq!(bench.count("metrics_sessions").await, 0);
}

#[tokio::test]
async fn every_row_is_told_apart_by_rev_and_digest() {
    let mut bench = Bench::new().await;
    let [a, b, c, d] = [(); 4].map(|()| session(bench.ada.users[0].id));
    let one = first(vec![a.clone(), raised(&b, 5), raised(&c, 2), raised(&d, 2)]);
    bench.push(&one).await;
    let described = with(&raised(&a, 3), "description", Value::Text("later".into()));
    let mut other = with(
        &raised(&c, 2),
        "description",
        Value::Text("elsewhere".into()),
    );
    other.digest = [9; 16];
    let fresh = session(bench.user());
    let two = next(
        &one,
        vec![described, raised(&b, 4), other, raised(&d, 2), fresh],
    );
    let receipt = bench.push(&two).await;
    assert_eq!((receipt.applied, receipt.same, receipt.newer), (2, 1, 1));
    assert_eq!(receipt.conflicts.len(), 1);
    let conflict = &receipt.conflicts[0];
    assert_eq!(
        (conflict.id, conflict.rev, conflict.remote_digest),
        (c.id, 2, [2; 16])
    );
    assert_eq!(conflict.remote_row["id"], c.id.to_string());
    assert_eq!(conflict.remote_row["digest"], "02".repeat(16));
    assert_eq!(conflict.remote_row["source"], "claude");
    assert_eq!(conflict.remote_row["description"], serde_json::Value::Null);
    // The raised row changed, the conflicting and the newer one did not.
    assert_eq!(
        bench.value("metrics_sessions", "description", a.id).await,
        "later"
    );
    assert_eq!(
        bench
            .value("metrics_sessions", "coalesce(description, '-')", c.id)
            .await,
        "-"
    );
    assert_eq!(bench.value("metrics_sessions", "rev", b.id).await, "5");
}

#[tokio::test]
async fn a_higher_rev_does_not_change_what_is_settled() {
    let mut bench = Bench::new().await;
    let work = session(bench.user());
    let one = first(vec![work.clone()]);
    bench.push(&one).await;
    let changed = with(&raised(&work, 2), "created_at", Value::Timestamp(5_000_000));
    assert_eq!(bench.push(&next(&one, vec![changed])).await, applied(1));
    let created = bench
        .value(
            "metrics_sessions",
            "extract(epoch FROM created_at)::bigint",
            work.id,
        )
        .await;
    assert_eq!(created, "1767225600");
}

#[tokio::test]
async fn a_users_default_dashboard_can_change_hands_in_one_batch() {
    let mut bench = Bench::new().await;
    let (old, new) = (
        dashboard(bench.user(), true),
        dashboard(bench.user(), false),
    );
    let one = first(vec![old.clone(), new.clone()]);
    bench.push(&one).await;
    let taken = with(&raised(&new, 2), "is_default", Value::Boolean(true));
    let given = with(&raised(&old, 2), "is_default", Value::Boolean(false));
    assert_eq!(
        bench.push(&next(&one, vec![taken, given])).await,
        applied(2)
    );
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_transient() {
    let mut bench = Bench::new().await;
    let one = first(vec![session(bench.user())]);
    bench.push(&one).await;
    let lock = format!(
        "BEGIN; SELECT 1 FROM {}.sync_streams FOR UPDATE",
        bench.ada.schema_name
    );
    bench.superuser.batch_execute(&lock).await.unwrap();
    let limits = PushLimits {
        lock: Duration::from_millis(50),
        ..PushLimits::default()
    };
    let endpoint = Endpoint::parse(&bench.ada.url).unwrap();
    let mut hasty = PostgresRemote::with_limits(endpoint, &bench.ada.schema_name, limits);
    let two = next(&one, vec![session(bench.user())]);
    let error = hasty.offer(&two).await.unwrap_err();
    assert_eq!(
        (error.fault, error.sqlstate.as_deref()),
        (Fault::Transient, Some("55P03"))
    );
    // A server that does not answer at all.
    let limits = PushLimits {
        call: Duration::from_millis(50),
        ..PushLimits::default()
    };
    let endpoint = Endpoint::parse(&bench.ada.url).unwrap();
    let mut deaf = PostgresRemote::with_limits(endpoint, &bench.ada.schema_name, limits);
    let error = deaf.offer(&two).await.unwrap_err();
    assert_eq!((error.fault, error.sqlstate), (Fault::Transient, None));
    bench.superuser.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(bench.push(&two).await, applied(1));
}

#[tokio::test]
async fn after_an_outage_the_next_offer_connects_again() {
    let mut server = PrivateServer::start(&PrivateServerOptions::default()).unwrap();
    let endpoint = Endpoint::parse(&server.admin_url()).unwrap();
    let central = millpond_sync::postgres::central::Central::connect(&endpoint)
        .await
        .unwrap();
    central.init().await.unwrap();
    central
        .create_tenant(&crate::support::new_tenant("acme"))
        .await
        .unwrap();
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    drop(central);
    let mut remote = remote(&ada);
    let one = first(vec![session(ada.users[0].id)]);
    assert!(matches!(
        remote.offer(&one).await.unwrap(),
        Offer::Applied(_)
    ));

    // The outage falls between the offer and its commit.
    server.halt().unwrap();
    assert_eq!(remote.commit().await.unwrap_err().fault, Fault::Transient);
    assert_eq!(
        remote.offer(&one).await.unwrap_err().fault,
        Fault::Transient
    );
    server.resume().unwrap();
    assert!(matches!(
        remote.offer(&one).await.unwrap(),
        Offer::Applied(_)
    ));
    remote.commit().await.unwrap();
    assert_eq!(remote.offer(&one).await.unwrap(), Offer::AlreadyApplied);
}

#[tokio::test]
async fn a_revoked_device_is_told_that_its_login_is_at_fault() {
    let (_database, central, _) = Database::with_tenant().await;
    let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
    let mut remote = remote(&ada);
    let one = first(vec![session(ada.users[0].id)]);
    assert!(matches!(
        remote.offer(&one).await.unwrap(),
        Offer::Applied(_)
    ));
    central.revoke(ada.device_id).await.unwrap();
    // The held connection is gone, and a new one is refused for good.
    assert_eq!(remote.commit().await.unwrap_err().fault, Fault::Transient);
    let error = remote.offer(&one).await.unwrap_err();
    assert_eq!(
        (error.fault, error.sqlstate.as_deref()),
        (Fault::Login, Some("28000"))
    );
}
