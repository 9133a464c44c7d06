//! `millpond central migrate|diff|reset` as an administrator runs them.

use serde_json::Value;

use crate::workstation::{Central, Ran, Workstation};

fn with_shadow(ada: &Workstation, central: &Central, shadow: &str, arguments: &[&str]) -> Ran {
    let output = ada
        .command(arguments)
        .env("DATABASE_URL", &central.url)
        .env("SHADOW_DATABASE_URL", shadow)
        .output()
        .unwrap();
    Ran::of(&output)
}

#[tokio::test]
async fn the_commands_tell_as_json_ask_before_they_drop_and_say_what_differs() {
    let ada = Workstation::of_ada();
    let central = Central::for_workstation(&ada).await;
    let shadow = Central::empty().await.url;
    let run = |arguments: &[&str]| with_shadow(&ada, &central, &shadow, arguments);

    assert_eq!(central.run(&ada, &["diff"]).refused(78), "configuration");
    let migrated = run(&["central", "migrate", "--canary", "acme", "--shadow"]).json();
    assert_eq!(migrated["migrated"], Value::Array(vec![]));
    assert_eq!(migrated["stopped_at_canary"], false);
    assert_eq!(
        run(&["central", "diff"]).json()["tenants"][0]["drift"],
        "none"
    );

    let id = ada.tenant()["schema_name"].as_str().unwrap().to_owned();
    let by_hand = format!("ALTER TABLE {id}.users ADD COLUMN nickname text");
    central
        .superuser()
        .await
        .batch_execute(&by_hand)
        .await
        .unwrap();
    let diff = run(&["central", "diff", "--tenant", "acme"]);
    assert_eq!(diff.code, 1);
    let found = &diff.any_json()["tenants"][0]["differences"][0];
    assert_eq!(
        (&found["object"], &found["name"]),
        (&"column".into(), &"users.nickname".into())
    );
    assert_eq!(
        (&found["expected"], &found["live"]),
        (&Value::Null, &"text".into())
    );

    assert_eq!(
        run(&["central", "reset", "acme"]).refused(4),
        "not_confirmed"
    );
    assert_eq!(
        run(&["central", "reset", "acme", "--confirm", "umbra"]).refused(4),
        "not_confirmed"
    );
    assert_eq!(run(&["central", "diff"]).code, 1);
    assert_eq!(
        run(&["central", "reset", "nobody", "--confirm", "nobody"]).refused(1),
        "not_found"
    );
    let reset = run(&["central", "reset", "acme", "--confirm", "acme"]).json();
    assert_eq!(reset["reset"], "acme");
    run(&["central", "diff"]).json();
}
