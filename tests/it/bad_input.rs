//! Bad input: a clear message with a hint, the contract's exit code, and nothing half written.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use crate::workstation::{Central, Ran, Workstation, transcript};

#[test]
fn an_unknown_tenant_or_user_is_told_and_nothing_is_written() {
    let workstation = Workstation::of_ada();
    let path = transcript(workstation.folder.path(), "s1", 2);
    let path = path.to_str().unwrap();
    assert_eq!(
        workstation
            .run(&["import", "claude", path, "--tenant", "umbra"])
            .refused(1),
        "not_found"
    );
    let ran = workstation.run(&[
        "import",
        "claude",
        path,
        "--tenant",
        "acme",
        "--user",
        "eve@acme.dev",
    ]);
    assert_eq!(ran.refused(1), "not_found");
    assert!(
        ran.any_json()["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("user add")
    );
    assert_eq!(workstation.tenant()["tool_metrics"], 0);
}

#[test]
fn a_domain_that_is_a_path_or_too_long_is_refused() {
    let workstation = Workstation::new();
    for bad in ["../x", "a/b", &"x".repeat(300), "", "a b"] {
        let ran = workstation.run(&["init", "--tenant", bad, "--user", "ada@acme.dev"]);
        assert_eq!(ran.refused(2), "invalid", "{bad:?}");
    }
    assert!(
        !workstation.home().exists(),
        "a refused init left a home behind"
    );
}

#[test]
fn a_tenant_that_exists_is_a_unique_violation() {
    let workstation = Workstation::of_ada();
    let ran = workstation.run(&["tenant", "create", "acme", "--name", "Other"]);
    assert_eq!(ran.refused(1), "unique_violation");
}

#[test]
fn init_again_changes_nothing() {
    let workstation = Workstation::of_ada();
    let before = workstation.tenant();
    workstation
        .run(&[
            "init",
            "--tenant",
            "acme",
            "--name",
            "Other",
            "--user",
            "ada@acme.dev",
        ])
        .json();
    let after = workstation.tenant();
    assert_eq!(
        (&before["id"], &before["name"]),
        (&after["id"], &after["name"])
    );
    assert_eq!(
        workstation
            .run(&["user", "list", "--tenant", "acme"])
            .json()["users"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn without_a_home_a_command_says_how_to_make_one() {
    let ran = Workstation::new().run(&["tenant", "list"]);
    assert_eq!(ran.refused(78), "no_home");
    assert!(
        ran.any_json()["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("millpond init")
    );
}

#[test]
fn a_home_that_another_user_owns_is_refused() {
    let workstation = Workstation::of_ada();
    if chown(workstation.home(), Some(65_534), None).is_err() {
        eprintln!("skipped: only root can give a folder away");
        return;
    }
    assert_eq!(
        workstation.run(&["tenant", "list"]).refused(4),
        "permission"
    );
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let workstation = Workstation::of_ada();
    workstation
        .file()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert_eq!(
        workstation
            .run(&["session", "list", "--tenant", "acme"])
            .refused(78),
        "schema_newer"
    );
}

#[test]
fn a_file_that_is_no_database_is_told() {
    let workstation = Workstation::of_ada();
    let path = workstation.tenant()["path"].as_str().unwrap().to_owned();
    std::fs::write(
        path,
        "not a database, but long enough to be looked at as one".repeat(100),
    )
    .unwrap();
    assert_eq!(
        workstation
            .run(&["session", "list", "--tenant", "acme"])
            .refused(1),
        "corrupt"
    );
}

#[test]
fn a_transcript_that_is_a_loop_binary_or_missing_is_survived() {
    let workstation = Workstation::of_ada();
    let folder = workstation.folder.path().join("projects");
    std::fs::create_dir(&folder).unwrap();
    symlink(&folder, folder.join("loop")).unwrap();
    transcript(&folder, "good", 3);
    std::fs::write(
        folder.join("binary.jsonl"),
        [0xff, 0xfe, 0x00, b'\n', b'{', 0x80, b'\n'],
    )
    .unwrap();
    let report = workstation.import(&folder);
    assert_eq!((&report["files"], &report["calls"]), (&2.into(), &3.into()));
    assert_eq!(report["malformed"], 2);
    let missing = folder.join("missing");
    let ran = workstation.run(&[
        "import",
        "claude",
        missing.to_str().unwrap(),
        "--tenant",
        "acme",
    ]);
    assert_eq!(ran.refused(1), "io");
}

#[test]
fn a_nul_in_a_tool_name_is_passed_over_and_counted() {
    let workstation = Workstation::of_ada();
    let path = transcript(workstation.folder.path(), "s1", 4);
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"name\":\"Edit\"", "\"name\":\"Ed\\u0000it\"");
    std::fs::write(&path, text).unwrap();
    let report = workstation.import(&path);
    assert_eq!(report["calls"], 3);
    assert!(report["skipped"].as_u64().unwrap() > 0);
}

#[test]
fn arguments_that_mean_nothing_exit_2_and_print_json_where_that_was_asked_for() {
    let workstation = Workstation::new();
    assert_eq!(workstation.run(&["no-such-command"]).refused(2), "usage");
    assert_eq!(workstation.run(&["import", "claude"]).refused(2), "usage");
    assert_eq!(
        Workstation::of_ada()
            .run(&["metrics", "--since", "yesterday"])
            .refused(2),
        "invalid"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_setup_are_told_apart() {
    let workstation = Workstation::of_ada();
    let central = Central::empty().await;
    assert_eq!(
        central.run(&workstation, &["status"]).refused(78),
        "configuration"
    );
    let at = central.url.find(':').unwrap();
    let (head, tail) = (&central.url[..at + 3], &central.url[at + 3..]);
    let (login, rest) = tail.split_once('@').unwrap();
    let user = login.split(':').next().unwrap();
    let wrong = Central {
        url: format!("{head}{user}:wrong@{rest}"),
    };
    assert_eq!(
        wrong.run(&workstation, &["status"]).refused(4),
        "login_refused"
    );
    assert_eq!(
        workstation.run(&["central", "status"]).refused(78),
        "configuration"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_of_another_domain_or_none_at_all_is_refused() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    let document = central.document(&workstation, &["ada@acme.dev"]);
    workstation
        .run(&["tenant", "create", "umbra", "--name", "Umbra"])
        .json();
    let ran = workstation.run_with_input(&["enroll", "--tenant", "umbra", "-"], &document);
    assert_eq!(ran.refused(4), "other_domain");
    assert_eq!(
        workstation
            .run_with_input(&["enroll", "-"], "v = 1")
            .refused(78),
        "configuration"
    );
    assert_eq!(workstation.run(&["sync"]).refused(78), "configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_lies_in_a_file_of_its_own_and_nowhere_else() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    let document = central.document(&workstation, &["ada@acme.dev"]);
    let secret = document
        .split(':')
        .find_map(|part| part.split_once('@'))
        .unwrap()
        .0
        .to_owned();
    assert!(secret.len() >= 32);
    let enrolled = workstation.run_with_input(&["enroll", "-"], &document);
    assert!(!enrolled.stdout.contains(&secret) && !enrolled.stderr.contains(&secret));
    let mut holders = Vec::new();
    let mut folders = vec![workstation.home()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(&secret) {
                holders.push(path);
            }
        }
    }
    assert_eq!(holders.len(), 1, "{holders:?}");
    let mode = std::fs::metadata(&holders[0]).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_folder_that_others_may_enter_is_closed_only_where_it_is_ours_to_close() {
    let workstation = Workstation::new();
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let home = workstation.home();

    // Somebody's folder: it stays as it is, and no file is put into it.
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("thesis.txt"), "words").unwrap();
    open(&home);
    let ran = workstation.run(&["init"]);
    assert_eq!(ran.refused(4), "permission");
    let hint = ran.any_json()["error"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("chmod 700"), "{hint}");
    assert!(workstation.run(&["tenant", "list"]).code != 0);
    let input =
        r#"{"hook_event_name":"PreToolUse","session_id":"s","tool_name":"Bash","tool_use_id":"t"}"#;
    workstation.run_with_input(&["hook", "claude"], input);
    assert_eq!(
        (mode(&home), std::fs::read_dir(&home).unwrap().count()),
        (0o755, 1)
    );

    // An empty folder was made for this.
    std::fs::remove_file(home.join("thesis.txt")).unwrap();
    workstation.run(&["init"]).json();
    assert_eq!(mode(&home), 0o700);

    // A home of ours that came open: reading refuses and changes nothing, init closes it.
    open(&home);
    assert_eq!(
        workstation.run(&["tenant", "list"]).refused(4),
        "permission"
    );
    workstation.run_with_input(&["hook", "claude"], input);
    assert_eq!(
        (
            mode(&home),
            mode(&home.join("spool")),
            home.join("spool").read_dir().unwrap().count()
        ),
        (0o755, 0o700, 1),
        "what a hook saw is kept, and closed to others"
    );
    workstation.run(&["init"]).json();
    assert_eq!(mode(&home), 0o700);
}

#[test]
fn whose_work_it_is_stays_when_a_second_user_is_added_and_moves_when_it_is_said() {
    let workstation = Workstation::new();
    workstation.run(&["init", "--tenant", "acme"]).json();
    let who = || {
        let name = format!("s{}", uuid::Uuid::new_v4().simple());
        workstation.import(&transcript(workstation.folder.path(), &name, 1));
        let file = workstation.file();
        let sql = "SELECT email FROM users JOIN metrics_sessions s ON s.user_id = users.id WHERE s.source_id = ?1";
        file.query_row(sql, [name], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let user = |arguments: &[&str]| {
        workstation.run(&[&["user"], arguments, &["--tenant", "acme"]].concat())
    };
    user(&["add", "ada@acme.dev"]).json();
    assert_eq!(who(), "ada@acme.dev");
    user(&["add", "bob@acme.dev"]).json();
    assert_eq!(who(), "ada@acme.dev");
    user(&["update", "bob@acme.dev", "--default"]).json();
    assert_eq!(who(), "bob@acme.dev");
    assert_eq!(
        user(&["update", "eve@acme.dev", "--default"]).refused(1),
        "not_found"
    );

    // A tenant whose only user was the default without being chosen: a file from before users were chosen.
    let file = workstation.file();
    file.execute_batch("DELETE FROM meta WHERE key = 'default_user'; UPDATE users SET deleted_at = 1 WHERE email LIKE 'bob%'")
        .unwrap();
    user(&["add", "cyd@acme.dev"]).json();
    assert_eq!(who(), "ada@acme.dev");
}

#[test]
fn whatever_is_refused_comes_with_a_hint() {
    let workstation = Workstation::of_ada();
    for (arguments, code, kind) in [
        (&["tenant", "show", "../x"][..], 2, "invalid"),
        (&["tenant", "create", "a b", "--name", "A"], 2, "invalid"),
        (&["tenant", "create", "b", "--name", ""], 2, "invalid"),
        (
            &["tenant", "create", "b", "--name", "B", "--plan", "gold"],
            2,
            "invalid",
        ),
        (&["user", "add", "nobody", "--tenant", "acme"], 2, "invalid"),
        (
            &["user", "add", "bob@acme.dev", "--role", "queen"],
            2,
            "invalid",
        ),
        (&["user", "add", "ada@acme.dev"], 1, "unique_violation"),
        (&["user", "show", "eve@acme.dev"], 1, "not_found"),
        (&["session", "list", "--after", "zz"], 2, "invalid"),
        (&["session", "list", "--since", "yesterday"], 2, "invalid"),
        (
            &["session", "show", "00000000-0000-4000-8000-000000000000"],
            1,
            "not_found",
        ),
        (&["metrics", "--since", "soon"], 2, "invalid"),
        (&["seed", "--until", "soon"], 2, "usage"),
        (&["enroll", "/nowhere/acme.toml"], 1, "io"),
        (
            &["central", "status", "--url-file", "/nowhere/url"],
            78,
            "configuration",
        ),
    ] {
        assert_eq!(
            workstation.run(arguments).refused(code),
            kind,
            "{arguments:?}"
        );
    }
    let id = uuid::Uuid::new_v4().to_string();
    workstation
        .file()
        .execute("UPDATE meta SET value = ?1 WHERE key = 'tenant_id'", [id])
        .unwrap();
    let ran = workstation.run(&["session", "list"]);
    assert_eq!(ran.refused(1), "wrong_tenant");
    let path = workstation.run(&["tenant", "list"]).json()["tenants"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::remove_file(path).unwrap();
    assert_eq!(workstation.run(&["session", "list"]).refused(1), "io");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_document_that_no_one_reads_is_told_with_the_device_to_revoke() {
    let workstation = Workstation::of_ada();
    let central = Central::for_workstation(&workstation).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = workstation.command(&["central", "enroll", "--tenant", "acme"]);
    command
        .args(["--user", "ada@acme.dev"])
        .env("DATABASE_URL", &central.url)
        .stdout(writer);
    let ran = Ran::of_command(command, "");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("could not be printed"),
        "{}",
        ran.stderr
    );
    let (_, device) = ran.stderr.split_once("millpond central revoke ").unwrap();
    central.run(&workstation, &["revoke", device.trim()]).json();
}
