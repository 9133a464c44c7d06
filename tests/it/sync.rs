//! From a transcript to the central schema, end to end, with the built program.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::workstation::{Central, Workstation, assert_equal, connect, transcript};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transcript_says_lies_in_the_central_schema_exactly_once() {
    let workstation = Workstation::of_ada();
    let report = workstation.import(&transcript(workstation.folder.path(), "s1", 40));
    assert_eq!(
        (&report["calls"], &report["errors"], &report["sessions"]),
        (&json!(40), &json!(8), &json!(1))
    );
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    let synced = workstation.sync();
    assert_eq!(
        (&synced["pushed"], &synced["pending"], &synced["error"]),
        (&json!(41), &json!(0), &json!(null))
    );
    assert_eq!(assert_equal(&workstation, &central).await, (1, 40));

    // Again: nothing to send, and importing once more changes nothing on either side.
    assert_eq!(workstation.sync()["pushed"], 0);
    let again = workstation.import(&transcript(workstation.folder.path(), "s1", 40));
    assert_eq!(
        (&again["calls"], &again["duplicates"]),
        (&json!(40), &json!(40))
    );
    assert_eq!(workstation.tenant()["pending"], 0);
    assert_equal(&workstation, &central).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_grew_is_sent_again_and_raised() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    for calls in [3, 10, 30] {
        workstation.import(&transcript(workstation.folder.path(), "s1", calls));
        workstation.sync();
        assert_eq!(assert_equal(&workstation, &central).await, (1, calls));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_killed_at_fifty_moments_loses_and_doubles_nothing() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    // How long an undisturbed run takes is the span that the kills are spread over.
    workstation.import(&transcript(workstation.folder.path(), "measure", 2_000));
    let begun = Instant::now();
    workstation.sync();
    let span = begun.elapsed();
    let (mut kills, mut round) = (0, 0);
    while kills < 50 {
        round += 1;
        assert!(round <= 400, "only {kills} of {round} runs could be killed");
        if workstation.tenant()["pending"] == 0 {
            workstation.import(&transcript(
                workstation.folder.path(),
                &format!("s{round}"),
                2_000,
            ));
        }
        let mut child = workstation
            .command(&["sync"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // 37 is prime to 50: the moments cover the span without an order that the batches could follow.
        let moment = span.mul_f64(f64::from(round * 37 % 50) / 50.0);
        tokio::time::sleep(moment).await;
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        kills += i32::from(!ended);
    }
    workstation.sync();
    let (sessions, calls) = assert_equal(&workstation, &central).await;
    assert_eq!(calls, sessions * 2_000);
    let left: i64 = workstation
        .file()
        .query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
    eprintln!(
        "{kills} kills in {round} runs of {span:?}: {sessions} sessions and {calls} calls, each once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_workstation_of_the_same_person_adds_no_row() {
    let first = Workstation::of_ada();
    first.import(&transcript(first.folder.path(), "s1", 25));
    let central = Central::for_workstation(&first).await;
    central.enroll(&first, &["ada@acme.dev"]);
    first.sync();
    // The second joins with nothing but its document: tenant and user come with it.
    let second = Workstation::new();
    central.enroll(&second, &["ada@acme.dev"]);
    second.import(&transcript(second.folder.path(), "s1", 25));
    second.import(&transcript(second.folder.path(), "s2", 5));
    let synced = second.sync();
    assert_eq!(
        (&synced["conflicts"], &synced["quarantined"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(assert_equal(&second, &central).await, (2, 30));
    assert_eq!(first.tenant()["id"], second.tenant()["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workstation_that_was_set_up_alone_takes_the_central_ids_when_it_joins() {
    let alone = Workstation::of_ada();
    alone.import(&transcript(alone.folder.path(), "s1", 12));
    let own_id = alone.tenant()["id"].clone();
    // The central tenant was made without --id: it has another id, and so has its user.
    let central = Central::empty().await;
    central.run(&alone, &["init"]).json();
    let made = central
        .run(&alone, &["tenant", "create", "acme", "--name", "Acme"])
        .json();
    assert_ne!(made["id"], own_id);
    central.enroll(&alone, &["ada@acme.dev"]);
    assert_eq!(alone.tenant()["id"], made["id"]);
    assert_eq!(alone.tenant()["schema_name"], made["schema_name"]);
    alone.sync();
    assert_eq!(assert_equal(&alone, &central).await, (1, 12));
    // Importing again finds the re-keyed rows, and a second machine makes the same ones.
    assert_eq!(
        alone.import(&transcript(alone.folder.path(), "s1", 12))["duplicates"],
        12
    );
    let second = Workstation::new();
    central.enroll(&second, &["ada@acme.dev"]);
    second.import(&transcript(second.folder.path(), "s1", 12));
    assert_eq!(second.sync()["conflicts"], 0);
    assert_eq!(assert_equal(&second, &central).await, (1, 12));

    // Once synchronised under one id, a tenant takes no other.
    let other = Central::empty().await;
    other.run(&alone, &["init"]).json();
    other
        .run(&alone, &["tenant", "create", "acme", "--name", "Acme"])
        .json();
    let document = other.document(&alone, &["ada@acme.dev"]);
    assert_eq!(
        alone.run_with_input(&["enroll", "-"], &document).refused(4),
        "already_synced"
    );
    assert_eq!(alone.tenant()["id"], made["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_row_is_quarantined_alone_and_told() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.import(&transcript(workstation.folder.path(), "s1", 30));
    let file = workstation.file();
    file.execute_batch(
        "PRAGMA ignore_check_constraints = ON;
         UPDATE tool_metrics SET program = 'a' || char(0) || 'b' WHERE source_id = 'toolu_s1_7';",
    )
    .unwrap();
    let synced = workstation.sync();
    assert_eq!(
        (&synced["quarantined"], &synced["pending"]),
        (&json!(1), &json!(0))
    );
    let there = central.rows("tool_metrics", "source_id").await;
    assert_eq!(there.len(), 29);
    assert!(!there.contains(&"toolu_s1_7".to_owned()));
    // Mended, it goes.
    file.execute(
        "UPDATE tool_metrics SET program = 'ab' WHERE source_id = 'toolu_s1_7'",
        [],
    )
    .unwrap();
    assert_eq!(workstation.sync()["quarantined"], 0);
    assert_eq!(assert_equal(&workstation, &central).await, (1, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_session_keeps_its_own_calls_and_stops_no_other() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.import(&transcript(workstation.folder.path(), "s1", 60));
    let file = workstation.file();
    file.execute_batch("UPDATE metrics_sessions SET description = 'a' || char(0) || 'b'")
        .unwrap();
    workstation.import(&transcript(workstation.folder.path(), "s2", 5));
    let synced = workstation.sync();
    assert_eq!(
        (&synced["error"], &synced["pending"]),
        (&json!(null), &json!(0))
    );
    assert_eq!(central.rows("tool_metrics", "source_id").await.len(), 5);
    // Mended, it goes with all that hangs on it.
    file.execute("UPDATE metrics_sessions SET description = NULL", [])
        .unwrap();
    assert_eq!(workstation.sync()["quarantined"], 0);
    assert_eq!(assert_equal(&workstation, &central).await, (2, 65));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_user_who_is_not_enrolled_stay_until_an_enrolment_frees_them() {
    let workstation = Workstation::of_ada();
    workstation
        .run(&["user", "add", "bob@acme.dev", "--tenant", "acme"])
        .json();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    let path = transcript(workstation.folder.path(), "s1", 4);
    workstation
        .run(&[
            "import",
            "claude",
            path.to_str().unwrap(),
            "--tenant",
            "acme",
            "--user",
            "bob@acme.dev",
        ])
        .json();
    let synced = workstation.sync();
    assert_eq!(
        (&synced["pushed"], &synced["quarantined"]),
        (&json!(0), &json!(5))
    );
    central.enroll(&workstation, &["ada@acme.dev", "bob@acme.dev"]);
    assert_eq!(workstation.sync()["quarantined"], 0);
    assert_eq!(assert_equal(&workstation, &central).await, (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_told_so_and_keeps_its_rows() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    let enrolled = central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.import(&transcript(workstation.folder.path(), "s1", 4));
    central
        .run(
            &workstation,
            &["revoke", enrolled["device_id"].as_str().unwrap()],
        )
        .json();
    let ran = workstation.run(&["sync"]);
    assert_eq!(ran.code, 4, "{}", ran.stdout);
    let report = &ran.any_json()["tenants"][0];
    assert_eq!(
        (&report["error"]["kind"], &report["pending"]),
        (&json!("login_refused"), &json!(5))
    );
    let status = workstation.run(&["sync", "status"]).json();
    assert_eq!(status["tenants"][0]["state"], "gone");
    // A new credential of the same person goes on where the first stopped.
    central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.sync();
    assert_eq!(assert_equal(&workstation, &central).await, (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_central_database_that_forgot_the_stream_gets_every_row_again() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.import(&transcript(workstation.folder.path(), "s1", 20));
    workstation.sync();
    let schema = workstation.tenant()["schema_name"]
        .as_str()
        .unwrap()
        .to_owned();
    let superuser = connect(&central.url).await;
    superuser
        .batch_execute(&format!(
            "DELETE FROM {schema}.sync_streams; DELETE FROM {schema}.tool_metrics WHERE source_id = 'toolu_s1_3'"
        ))
        .await
        .unwrap();
    workstation.import(&transcript(workstation.folder.path(), "s2", 2));
    workstation.sync();
    assert_eq!(assert_equal(&workstation, &central).await, (2, 22));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_syncs_of_a_tenant_do_not_run_at_once() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    let store =
        millpond::store::Store::open(millpond::store::Home::at(workstation.home())).unwrap();
    let domain = millpond::domain::tenant::Domain::parse("acme").unwrap();
    let lock = store.lock_sync(&domain).unwrap();
    let ran = workstation.run(&["sync"]);
    assert_eq!(ran.code, 75, "{}", ran.stdout);
    assert_eq!(
        workstation.run(&["sync", "status"]).json()["tenants"][0]["state"],
        "syncing"
    );
    drop(lock);
    assert_eq!(workstation.sync()["error"], json!(null));
}

/// The enrolment document with a port that nobody listens on: it was free a moment ago.
fn where_nobody_listens(document: &str) -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = document.find("@127.0.0.1:").unwrap() + "@127.0.0.1:".len();
    let end = at + document[at..].find('/').unwrap();
    format!("{}{port}{}", &document[..at], &document[end..])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_local_file_leaves_what_was_noted_of_the_server() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    let document = central.document(&workstation, &["ada@acme.dev"]);
    workstation
        .run_with_input(&["enroll", "-"], &where_nobody_listens(&document))
        .json();
    workstation.import(&transcript(workstation.folder.path(), "s1", 4));
    assert_eq!(workstation.run(&["sync"]).code, 69);
    let state = || workstation.run(&["sync", "status"]).json()["tenants"][0]["state"].clone();
    assert_eq!(state(), "offline");

    // The server is back, and another program keeps this file from sealing a batch.
    workstation
        .run_with_input(&["enroll", "-"], &document)
        .json();
    let file = workstation.file();
    file.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON sync_batches BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    .unwrap();
    let ran = workstation.run(&["sync"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let report = &ran.any_json()["tenants"][0];
    assert_eq!(
        (&report["pushed"], &report["pending"]),
        (&json!(0), &json!(5))
    );
    assert_ne!(report["error"]["kind"], "unreachable");
    assert_eq!(state(), "offline");

    file.execute_batch("DROP TRIGGER full").unwrap();
    workstation.sync();
    assert_eq!(state(), "idle");
    assert_eq!(assert_equal(&workstation, &central).await, (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_central_database_that_is_down_costs_nothing_but_time() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    let document = central.document(&workstation, &["ada@acme.dev"]);
    workstation
        .run_with_input(&["enroll", "-"], &where_nobody_listens(&document))
        .json();
    workstation.import(&transcript(workstation.folder.path(), "s1", 4));
    let begun = Instant::now();
    let ran = workstation.run(&["sync"]);
    assert_eq!(ran.code, 69, "{}", ran.stdout);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "a command must not wait for ever"
    );
    let report = &ran.any_json()["tenants"][0];
    assert_eq!(
        (&report["error"]["kind"], &report["pending"]),
        (&json!("unreachable"), &json!(5))
    );
    assert_eq!(
        report["error"]["hint"],
        "work goes on offline; 5 changes are waiting"
    );
    assert_eq!(
        workstation.run(&["sync", "status"]).json()["tenants"][0]["state"],
        "offline"
    );
    // Back again, with the right address.
    workstation
        .run_with_input(&["enroll", "-"], &document)
        .json();
    workstation.sync();
    assert_eq!(assert_equal(&workstation, &central).await, (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_changes_of_a_user_arrives_with_the_next_sync() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.sync();
    let schema = workstation.tenant()["schema_name"]
        .as_str()
        .unwrap()
        .to_owned();
    let superuser = connect(&central.url).await;
    let change = format!(
        "UPDATE {schema}.users SET role = 'manager', first_name = 'Ada', email = 'ada@lovelace.dev', rev = rev + 1"
    );
    superuser.batch_execute(&change).await.unwrap();
    assert_eq!(workstation.sync()["pulled"], 1);
    assert_eq!(workstation.sync()["pulled"], 0);
    let user = workstation
        .run(&["user", "show", "ada@lovelace.dev", "--tenant", "acme"])
        .json();
    assert_eq!(
        (&user["role"], &user["first_name"]),
        (&json!("manager"), &json!("Ada"))
    );
    // Whoever was the default user is it under another address too.
    workstation.import(&transcript(workstation.folder.path(), "s1", 3));
    workstation.sync();
    assert_eq!(assert_equal(&workstation, &central).await, (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_dashboard_that_moved_while_offline_arrives() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    let file = workstation.file();
    let insert = |id: &str| {
        file.execute(
            &format!(
                "INSERT INTO dashboard_configs (id, user_id, dashboard_name, is_default, created_at, updated_at)
                 SELECT x'{id}', id, '{id}', 1, 1, 1 FROM users"
            ),
            [],
        )
        .unwrap();
    };
    insert("00000000000040008000000000000001");
    workstation.sync();
    workstation.import(&transcript(workstation.folder.path(), "s1", 600));
    file.execute("UPDATE dashboard_configs SET is_default = 0", [])
        .unwrap();
    workstation.import(&transcript(workstation.folder.path(), "s2", 600));
    insert("00000000000040008000000000000002");
    let synced = workstation.sync();
    let again = workstation.sync();
    let there = central
        .rows("dashboard_configs", "dashboard_name, is_default")
        .await;
    assert_eq!(there.len(), 2, "{synced} {again} {there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_that_drops_a_user_does_not_stall_a_sealed_batch() {
    let workstation = Workstation::of_ada();
    workstation
        .run(&["user", "add", "bob@acme.dev", "--tenant", "acme"])
        .json();
    let central = Central::for_workstation(&workstation).await;
    let document = central.document(&workstation, &["ada@acme.dev", "bob@acme.dev"]);
    let at = document.find("@127.0.0.1:").unwrap() + "@127.0.0.1:".len();
    let end = at + document[at..].find('/').unwrap();
    let moved = format!("{}1{}", &document[..at], &document[end..]);
    workstation.run_with_input(&["enroll", "-"], &moved).json();
    let path = transcript(workstation.folder.path(), "b", 4);
    workstation
        .run(&[
            "import",
            "claude",
            path.to_str().unwrap(),
            "--tenant",
            "acme",
            "--user",
            "bob@acme.dev",
        ])
        .json();
    workstation.import(&transcript(workstation.folder.path(), "a", 4));
    assert_eq!(workstation.run(&["sync"]).code, 69);
    central.enroll(&workstation, &["ada@acme.dev"]);
    assert_eq!(workstation.run(&["sync"]).code, 0);
    assert_eq!(central.rows("tool_metrics", "source_id").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tenant_keeps_no_other_from_being_synchronised_or_listed() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    central.enroll(&workstation, &["ada@acme.dev"]);
    workstation.import(&transcript(workstation.folder.path(), "s1", 4));
    // A tenant that comes before acme, enrolled, and then spoiled.
    workstation
        .run(&["tenant", "create", "aaa", "--name", "A"])
        .json();
    let aaa = workstation.run(&["tenant", "show", "aaa"]).json();
    let id = aaa["id"].as_str().unwrap();
    central
        .run(
            &workstation,
            &["tenant", "create", "aaa", "--name", "A", "--id", id],
        )
        .json();
    let document = central.run(
        &workstation,
        &["enroll", "--tenant", "aaa", "--user", "a@a.dev"],
    );
    workstation
        .run_with_input(&["enroll", "-"], &document.stdout)
        .json();
    std::fs::write(
        aaa["path"].as_str().unwrap(),
        "no database, though it is longer than a header".repeat(100),
    )
    .unwrap();

    let ran = workstation.run(&["sync"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    let told = ran.any_json();
    assert_eq!(told["tenants"][0]["error"]["kind"], "corrupt");
    assert_eq!(told["tenants"][0]["pending"], json!(null));
    assert_eq!(
        (&told["tenants"][1]["pushed"], &told["tenants"][1]["error"]),
        (&json!(5), &json!(null))
    );
    for listing in [&["tenant", "list"][..], &["sync", "status"]] {
        let told = workstation.run(listing).json();
        let (spoiled, whole) = (&told["tenants"][0], &told["tenants"][1]);
        assert_eq!(
            (&spoiled["domain"], &spoiled["error"]["kind"]),
            (&json!("aaa"), &json!("corrupt"))
        );
        assert!(!spoiled["error"]["hint"].as_str().unwrap().is_empty());
        assert_eq!(
            (&spoiled["pending"], &whole["pending"], &whole["error"]),
            (&json!(null), &json!(0), &json!(null)),
            "{listing:?}"
        );
    }
}
