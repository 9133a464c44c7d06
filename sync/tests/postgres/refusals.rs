//! A bad row costs itself, a bad whole costs nothing.

use millpond_sync::change::{Change, Value};
use millpond_sync::fault::Fault;
use millpond_sync::port::{Offer, Remote};
use uuid::Uuid;

use crate::bench::{Bench, applied, remote};
use crate::rows::{call, dashboard, first, session, with};
use crate::support::{Database, enroll, scalar};

#[tokio::test]
async fn one_bad_row_among_500_is_found_and_the_others_arrive() {
    let mut bench = Bench::new().await;
    let work = session(bench.user());
    let mut changes = vec![work.clone()];
    changes.extend((0..499).map(|_| call(&work)));
    changes[317] = with(&changes[317], "outcome", Value::Text("splendid".into()));
    let bad = changes[317].clone();
    let batch = first(changes);
    let receipt = bench.push(&batch).await;
    assert_eq!((receipt.applied, receipt.rejects.len()), (499, 1));
    let reject = &receipt.rejects[0];
    assert_eq!(
        (reject.id, reject.rev, reject.sqlstate.as_str()),
        (bad.id, 1, "23514")
    );
    assert_eq!(reject.message, "the row violates tool_metrics_outcome");
    assert_eq!(bench.count("tool_metrics").await, 498);
    let recorded = format!(
        "SELECT concat_ws('|', batch_id, table_name, row_id, sqlstate, device_id) FROM {}.sync_rejects",
        bench.ada.schema_name
    );
    assert_eq!(
        scalar(&bench.superuser, &recorded).await,
        format!(
            "{}|tool_metrics|{}|23514|{}",
            batch.batch_id, bad.id, bench.ada.device_id
        )
    );
}

#[tokio::test]
async fn rejects_that_are_not_committed_are_not_recorded() {
    let mut bench = Bench::new().await;
    let bad = with(
        &session(bench.user()),
        "source",
        Value::Text("x".repeat(41)),
    );
    let batch = first(vec![bad, session(bench.user())]);
    let Offer::Applied(receipt) = bench.offer(&batch).await.unwrap() else {
        panic!()
    };
    assert_eq!(receipt.rejects.len(), 1);
    drop(std::mem::replace(&mut bench.remote, remote(&bench.ada)));
    assert_eq!(bench.count("sync_rejects").await, 0);
}

#[tokio::test]
async fn a_refused_session_takes_its_calls_with_it_and_nothing_else() {
    let mut bench = Bench::new().await;
    let good = session(bench.user());
    let bad = with(
        &session(bench.user()),
        "productivity_score",
        Value::Double(101.0),
    );
    let mut changes = vec![good.clone(), bad.clone()];
    changes.extend((0..40).map(|_| call(&good)));
    let orphans = [call(&bad), call(&bad), call(&bad)];
    changes.extend(orphans.clone());
    let receipt = bench.push(&first(changes)).await;
    assert_eq!((receipt.applied, receipt.rejects.len()), (41, 4));
    assert_eq!(receipt.rejects[0].id, bad.id);
    for orphan in &orphans {
        let reject = receipt
            .rejects
            .iter()
            .find(|reject| reject.id == orphan.id)
            .unwrap();
        assert_eq!(reject.sqlstate, "23503");
        assert_eq!(reject.message, "its session was refused in the same batch");
    }
}

#[tokio::test]
async fn calls_of_a_refused_session_do_not_count_towards_the_fifth() {
    let mut bench = Bench::new().await;
    let user = bench.user();
    // Refused before sending, and refused by the server.
    for (column, value) in [
        ("description", Value::Text("\0".into())),
        ("productivity_score", Value::Double(101.0)),
    ] {
        let bad = with(&session(user), column, value);
        let mut changes: Vec<Change> = (0..100).map(|_| call(&bad)).collect();
        changes.push(bad.clone());
        changes.extend((0..5).map(|_| session(user)));
        let receipt = bench.push(&first(changes)).await;
        assert_eq!((receipt.applied, receipt.rejects.len()), (5, 101));
        assert_eq!(receipt.rejects[0].id, bad.id);
        assert!(receipt.rejects[1..].iter().all(|reject| {
            (reject.sqlstate.as_str(), reject.message.as_str())
                == ("23503", "its session was refused in the same batch")
        }));
    }
}

#[tokio::test]
async fn calls_of_refused_sessions_do_not_hide_that_too_many_were_refused() {
    let mut bench = Bench::new().await;
    let user = bench.user();
    let mut changes: Vec<Change> = (0..50).map(|_| session(user)).collect();
    for change in changes.iter_mut().take(11) {
        *change = with(change, "session_type", Value::Text("x".repeat(51)));
    }
    let orphans: Vec<Change> = (0..200).map(|n| call(&changes[n % 11])).collect();
    changes.extend(orphans);
    let error = bench.offer(&first(changes)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Systemic);
    assert!(error.message.starts_with("11 of 50 rows"), "{error:?}");
}

#[tokio::test]
async fn rows_of_two_tables_are_never_taken_for_each_other() {
    let mut bench = Bench::new().await;
    let work = session(bench.user());
    // A dashboard that is refused before sending has the session's id, and so has the session's call.
    let mut twin = with(
        &dashboard(bench.user(), false),
        "dashboard_name",
        Value::Text("\0".into()),
    );
    twin.id = work.id;
    let mut own = call(&work);
    own.id = work.id;
    let receipt = bench.push(&first(vec![twin, work, own])).await;
    assert_eq!((receipt.applied, receipt.rejects.len()), (2, 1));
}

#[tokio::test]
async fn a_call_in_anothers_session_is_refused_by_the_composite_key() {
    let (_database, central, _) = Database::with_tenant().await;
    let both = enroll(&central, "acme", &["ada@acme.dev", "bob@acme.dev"]).await;
    let mut remote = remote(&both);
    let work = session(both.users[0].id);
    let foreign = with(&call(&work), "user_id", Value::Uuid(both.users[1].id));
    let Offer::Applied(receipt) = remote.offer(&first(vec![work, foreign])).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (receipt.applied, receipt.rejects[0].sqlstate.as_str()),
        (1, "23503")
    );
    assert_eq!(
        receipt.rejects[0].message,
        "its session is not on the server, or is another user's"
    );
}

#[tokio::test]
async fn values_that_the_server_refuses_cost_their_row_and_not_the_connection() {
    let mut bench = Bench::new().await;
    let work = session(bench.user());
    let bad: Vec<(Change, &str)> = [
        ("tool_name", Value::Text("a\0b".into()), "22021"),
        (
            "parameters",
            Value::Json("{\"a\": \"\\u0000\"}".into()),
            "22P05",
        ),
        ("parameters", Value::Json("{".into()), "22P02"),
        ("parameters", Value::Json("secret hunter2".into()), "22P02"),
        ("started_at", Value::Timestamp(i64::MAX), "23514"),
        ("started_at", Value::Timestamp(i64::MIN), "22008"),
        ("started_at", Value::Timestamp(-1), "23514"),
        ("average_duration_ms", Value::Double(f64::NAN), "23514"),
        ("memory_usage_mb", Value::Double(f64::INFINITY), "23514"),
        ("tool_name", Value::Null, "23502"),
        ("tool_name", Value::BigInt(1), "22P02"),
        ("command_line", Value::Text("x".repeat(8193)), "23514"),
    ]
    .into_iter()
    .map(|(column, value, code)| (with(&call(&work), column, value), code))
    .collect();
    let mut changes = vec![work.clone()];
    changes.extend((0..60).map(|_| call(&work)));
    changes.extend(bad.iter().map(|(change, _)| change.clone()));
    let receipt = bench.push(&first(changes)).await;
    assert_eq!(receipt.applied, 61);
    for (change, code) in &bad {
        let reject = receipt
            .rejects
            .iter()
            .find(|reject| reject.id == change.id)
            .unwrap();
        assert_eq!(reject.sqlstate, *code, "{}", reject.message);
        assert!(!reject.message.contains("hunter2"), "{}", reject.message);
    }
}

#[tokio::test]
async fn more_than_a_fifth_refused_is_nobodys_row_and_keeps_nothing() {
    let mut bench = Bench::new().await;
    let batch_with = |bad: usize, user| {
        let mut changes: Vec<Change> = (0..50).map(|_| session(user)).collect();
        for change in changes.iter_mut().take(bad) {
            *change = with(change, "session_type", Value::Text("x".repeat(51)));
        }
        first(changes)
    };
    let user = bench.user();
    let error = bench.offer(&batch_with(11, user)).await.unwrap_err();
    assert_eq!(
        (error.fault, error.sqlstate.as_deref()),
        (Fault::Systemic, Some("23514"))
    );
    for table in ["metrics_sessions", "sync_streams", "sync_rejects"] {
        assert_eq!(bench.count(table).await, 0, "{table}");
    }
    let receipt = bench.push(&batch_with(10, user)).await;
    assert_eq!((receipt.applied, receipt.rejects.len()), (40, 10));
}

#[tokio::test]
async fn rows_that_cannot_even_be_sent_count_towards_the_fifth() {
    let mut bench = Bench::new().await;
    let user = bench.user();
    let changes = (0..50)
        .map(|_| with(&session(user), "source", Value::Text("\0".into())))
        .collect();
    assert_eq!(
        bench.offer(&first(changes)).await.unwrap_err().fault,
        Fault::Systemic
    );
    assert_eq!(bench.count("sync_streams").await, 0);
}

#[tokio::test]
async fn an_unclear_code_blames_a_row_only_where_others_pass() {
    let mut bench = Bench::new().await;
    // A trigger that fails with a code which says nothing about rows.
    let schema = bench.ada.schema_name.clone();
    let install = |condition: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF {condition} THEN RAISE SQLSTATE 'XX001'; END IF; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON {schema}.metrics_sessions \
             FOR EACH ROW EXECUTE FUNCTION {schema}.fail()"
        )
    };
    bench
        .superuser
        .batch_execute(&install("true"))
        .await
        .unwrap();
    let user = bench.user();
    let error = bench
        .offer(&first(vec![session(user), session(user)]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.fault, error.sqlstate.as_deref()),
        (Fault::Systemic, Some("XX001"))
    );

    let install = install("NEW.source = 'odd'");
    bench.superuser.batch_execute(&install).await.unwrap();
    let odd = with(&session(user), "source", Value::Text("odd".into()));
    let receipt = bench
        .push(&first(vec![session(user), odd.clone(), session(user)]))
        .await;
    assert_eq!((receipt.applied, receipt.rejects[0].id), (2, odd.id));
    assert_eq!(receipt.rejects[0].sqlstate, "XX001");
}

#[tokio::test]
async fn a_missing_right_or_table_is_systemic_and_comes_back_when_mended() {
    let mut bench = Bench::new().await;
    let batch = first(vec![session(bench.user())]);
    let stranger = first(vec![session(Uuid::new_v4())]);
    let error = bench.offer(&stranger).await.unwrap_err();
    assert_eq!(
        (error.fault, error.sqlstate.as_deref()),
        (Fault::Systemic, Some("42501"))
    );
    let schema = bench.ada.schema_name.clone();
    let rename = |from: &str, to: &str| format!("ALTER TABLE {schema}.{from} RENAME TO {to}");
    let (away, back) = (
        rename("metrics_sessions", "moved"),
        rename("moved", "metrics_sessions"),
    );
    bench.superuser.batch_execute(&away).await.unwrap();
    let error = bench.offer(&batch).await.unwrap_err();
    assert_eq!(
        (error.fault, error.sqlstate.as_deref()),
        (Fault::Systemic, Some("42P01"))
    );
    bench.superuser.batch_execute(&back).await.unwrap();
    assert_eq!(bench.push(&batch).await, applied(1));
}
