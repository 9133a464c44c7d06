//! The commands that change tenants, users and dashboards, as their users have them.

use serde_json::Value;

use crate::workstation::Workstation;

#[test]
fn a_user_is_changed_and_deactivated() {
    let workstation = Workstation::of_ada();
    let user = |arguments: &[&str]| {
        let mut all = vec!["user"];
        all.extend(arguments);
        workstation.run(&all).json()
    };
    let changed = user(&[
        "update",
        "ada@acme.dev",
        "--role",
        "manager",
        "--last-name",
        "Lovelace",
        "--timezone",
        "Europe/London",
    ]);
    assert_eq!(
        (
            &changed["role"],
            &changed["last_name"],
            &changed["timezone"]
        ),
        (
            &"manager".into(),
            &"Lovelace".into(),
            &"Europe/London".into()
        )
    );
    assert_eq!(user(&["deactivate", "ada@acme.dev"])["is_active"], false);
    let shown = user(&["show", "ada@acme.dev"]);
    assert_eq!(
        (&shown["is_active"], &shown["role"]),
        (&false.into(), &"manager".into())
    );
    assert_eq!(
        user(&["update", "ada@acme.dev", "--active", "true"])["is_active"],
        true
    );
    let missing = workstation.run(&["user", "deactivate", "eve@acme.dev"]);
    assert_eq!(missing.refused(1), "not_found");
    let bad = workstation.run(&["user", "update", "ada@acme.dev", "--role", "king"]);
    assert_eq!(bad.refused(2), "invalid");
}

#[test]
fn an_inactive_tenant_refuses_rows_and_says_how_to_go_on() {
    let workstation = Workstation::of_ada();
    let changed = workstation
        .run(&[
            "tenant",
            "update",
            "acme",
            "--plan",
            "enterprise",
            "--data-region",
            "eu-central",
        ])
        .json();
    assert_eq!(changed["subscription_plan"], "enterprise");
    let inactive = workstation.run(&["tenant", "deactivate", "acme"]).json();
    assert_eq!(inactive["is_active"], false);
    let refused = workstation.run(&["user", "add", "bob@acme.dev", "--tenant", "acme"]);
    assert_eq!(refused.refused(4), "denied");
    let hint = refused.any_json()["error"]["hint"].to_string();
    assert!(hint.contains("tenant activate"), "{hint}");
    workstation.run(&["tenant", "activate", "acme"]).json();
    workstation
        .run(&["user", "add", "bob@acme.dev", "--tenant", "acme"])
        .json();
}

#[test]
fn a_dashboard_is_saved_shared_and_its_history_shown() {
    let workstation = Workstation::of_ada();
    let layout = r#"{"widgets": [{"kind": "top_tools"}]}"#;
    let saved = workstation
        .run_with_input(
            &["dashboard", "save", "week", "--layout", "-", "--default"],
            layout,
        )
        .json();
    assert_eq!(saved["widget_layout"]["widgets"][0]["kind"], "top_tools");
    assert_eq!(saved["is_default"], true);
    let id = saved["id"].as_str().unwrap();
    let again = workstation
        .run(&["dashboard", "save", "week", "--refresh", "30"])
        .json();
    assert_eq!((&again["id"], &again["version"]), (&saved["id"], &3.into()));
    assert_eq!(
        again["widget_layout"], saved["widget_layout"],
        "what is not named stays"
    );
    let stale = workstation.run(&[
        "dashboard",
        "save",
        "week",
        "--refresh",
        "40",
        "--seen",
        "1",
    ]);
    assert_eq!(stale.refused(1), "stale");
    let shared = workstation
        .run(&[
            "dashboard",
            "share",
            id,
            "--role",
            "viewer",
            "--public",
            "true",
        ])
        .json();
    assert_eq!(
        (&shared["shared_with_roles"][0], &shared["is_public"]),
        (&"viewer".into(), &true.into())
    );
    let history = workstation.run(&["dashboard", "history", id]).json();
    let versions: Vec<_> = history["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|old| old["version"].as_i64().unwrap())
        .collect();
    assert_eq!(versions, [4, 3, 2, 1]);
    let listed = workstation.run(&["dashboard", "list"]).json();
    assert_eq!(listed["dashboards"].as_array().unwrap().len(), 1);
    assert_eq!(
        workstation.run(&["dashboard", "show", id]).json()["version"],
        5
    );
    let bad = workstation.run_with_input(&["dashboard", "save", "x", "--layout", "-"], "[1]");
    assert_eq!(bad.refused(2), "invalid");
    let missing = workstation.run(&["dashboard", "show", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(missing.refused(1), "not_found");
}

#[test]
fn work_is_recorded_by_hand_into_the_open_session_or_one_of_its_own() {
    let workstation = Workstation::of_ada();
    let begun = workstation
        .run(&["session", "start", "--project", "mill", "--tag", "review"])
        .json();
    assert_eq!(
        (&begun["source"], &begun["session_end"]),
        (&"manual".into(), &Value::Null)
    );
    let id = begun["id"].as_str().unwrap();
    let record = |more: &[&str]| {
        let mut all = vec!["record", "--tool", "cargo", "--duration-ms", "40"];
        all.extend(more);
        workstation.run(&all).json()
    };
    let call = record(&["--failed"]);
    assert_eq!(
        (
            &call["session_id"],
            &call["outcome"],
            &call["total_duration_ms"]
        ),
        (&begun["id"], &"error".into(), &40.into())
    );
    let ended = workstation
        .run(&["session", "end", id, "--score", "80"])
        .json();
    assert_eq!(
        (&ended["end_inferred"], &ended["productivity_score"]),
        (&false.into(), &80.0.into())
    );
    assert_eq!(ended["tools_used"][0], "cargo");
    let own = record(&[]);
    assert_ne!(own["session_id"], begun["id"]);
    let shown = workstation
        .run(&["session", "show", own["session_id"].as_str().unwrap()])
        .json();
    assert_eq!(shown["total_duration_ms"], 40);
    let later = record(&["--session", id]);
    assert_eq!(later["session_id"], begun["id"]);
    let bad = workstation.run(&["session", "end", id, "--score", "101"]);
    assert_eq!(bad.refused(2), "invalid");
    let bad = workstation.run(&["record", "--tool", "", "--duration-ms", "1"]);
    assert_eq!(bad.refused(2), "invalid");
}
