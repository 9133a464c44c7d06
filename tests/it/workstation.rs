//! A workstation and a central database as their users have them: the built program, a home, a real PostgreSQL.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use millpond_sync::postgres::central::{Central as Administration, NewTenant, Plan};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The run's one cluster. Never dropped: its supervisor sees the process end.
fn cluster() -> &'static PrivateServer {
    static CLUSTER: OnceLock<PrivateServer> = OnceLock::new();
    CLUSTER.get_or_init(|| PrivateServer::start(&PrivateServerOptions::default()).unwrap())
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command to its end with an input that it need not read.
    pub fn of_command(mut command: Command, input: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Self::of(&child.wait_with_output().unwrap())
    }

    /// The JSON that a command which went well printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(
            self.code, 0,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.any_json()
    }

    /// The JSON that a command printed, however it went.
    #[track_caller]
    pub fn any_json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr));
        assert_eq!(value["v"], 1);
        value
    }

    /// The kind of error that a command failed with, which must come with a hint.
    #[track_caller]
    pub fn refused(&self, code: i32) -> String {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        let error = &self.any_json()["error"];
        assert!(!error["message"].as_str().unwrap().is_empty());
        let hint = error["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty(), "no hint: {error}");
        error["kind"].as_str().unwrap().to_owned()
    }
}

/// A home in a temporary folder, and the program.
pub struct Workstation {
    pub folder: TempDir,
}

impl Workstation {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// With tenant `acme` and user `ada@acme.dev`.
    pub fn of_ada() -> Self {
        let made = Self::new();
        made.run(&[
            "init",
            "--tenant",
            "acme",
            "--name",
            "Acme",
            "--user",
            "ada@acme.dev",
        ])
        .json();
        made
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The program with `--json` and this home, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command
            .args(arguments)
            .arg("--json")
            .env("MILLPOND_HOME", self.home())
            .env_remove("MILLPOND_TENANT")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        Ran::of_command(self.command(arguments), input)
    }

    /// Runs with `MILLPOND_TENANT` set.
    pub fn run_as(&self, tenant: &str, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        command.env("MILLPOND_TENANT", tenant);
        Ran::of_command(command, input)
    }

    pub fn import(&self, path: &Path) -> Value {
        self.run(&[
            "import",
            "claude",
            path.to_str().unwrap(),
            "--tenant",
            "acme",
        ])
        .json()
    }

    pub fn tenant(&self) -> Value {
        self.run(&["tenant", "show", "acme"]).json()
    }

    pub fn sync(&self) -> Value {
        self.run(&["sync"]).json()["tenants"][0].clone()
    }

    /// The tenant's file, for looking into. The program's own rules do not hold on this connection.
    pub fn file(&self) -> rusqlite::Connection {
        self.file_of("acme")
    }

    #[allow(clippy::disallowed_methods)]
    pub fn file_of(&self, domain: &str) -> rusqlite::Connection {
        let tenant = self.run(&["tenant", "show", domain]).json();
        rusqlite::Connection::open(tenant["path"].as_str().unwrap()).unwrap()
    }

    /// Adds tenant `umbra` with user `ada@umbra.dev`.
    pub fn add_umbra(&self) {
        self.run(&["tenant", "create", "umbra", "--name", "Umbra"])
            .json();
        self.run(&["user", "add", "ada@umbra.dev", "--tenant", "umbra"])
            .json();
    }
}

/// A database of the test's own on the shared cluster.
pub struct Central {
    pub url: String,
}

impl Central {
    pub async fn empty() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = connect(&cluster().admin_url()).await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        Self {
            url: cluster().url(&name),
        }
    }

    /// Sets the database up with these tenants; their ids.
    pub async fn with_tenants(&self, domains: &[&str]) -> Vec<Uuid> {
        let endpoint = Endpoint::parse(&self.url).unwrap();
        let admin = Administration::connect(&endpoint).await.unwrap();
        admin.init().await.unwrap();
        let mut ids = Vec::new();
        for domain in domains {
            let new = NewTenant {
                id: None,
                domain: (*domain).to_owned(),
                name: (*domain).to_owned(),
                plan: Plan::Basic,
            };
            ids.push(admin.create_tenant(&new).await.unwrap().id);
        }
        ids
    }

    /// Set up, with tenant `acme` under the id that the workstation gave it.
    pub async fn for_workstation(workstation: &Workstation) -> Self {
        let central = Self::empty().await;
        central.run(workstation, &["init"]).json();
        let id = workstation.tenant()["id"].as_str().unwrap().to_owned();
        central
            .run(
                workstation,
                &["tenant", "create", "acme", "--name", "Acme", "--id", &id],
            )
            .json();
        central
    }

    /// Runs `millpond central …`.
    pub fn run(&self, workstation: &Workstation, arguments: &[&str]) -> Ran {
        let mut all = vec!["central"];
        all.extend(arguments);
        let output = workstation
            .command(&all)
            .env("DATABASE_URL", &self.url)
            .output()
            .unwrap();
        Ran::of(&output)
    }

    /// A fresh enrolment document.
    pub fn document(&self, workstation: &Workstation, users: &[&str]) -> String {
        let mut arguments = vec!["enroll", "--tenant", "acme"];
        for user in users {
            arguments.extend(["--user", user]);
        }
        let ran = self.run(workstation, &arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    }

    pub fn enroll(&self, workstation: &Workstation, users: &[&str]) -> Value {
        let document = self.document(workstation, users);
        workstation
            .run_with_input(&["enroll", "-"], &document)
            .json()
    }

    pub async fn superuser(&self) -> Client {
        connect(&self.url).await
    }

    /// Every row of one of the tenant's tables as `id|rev|digest|payload…`, in order of id.
    pub async fn rows(&self, table: &str, columns: &str) -> Vec<String> {
        let client = self.superuser().await;
        let schema: String = client
            .query_one(
                "SELECT schema_name FROM public.tenants WHERE domain = 'acme'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        let sql = format!("SELECT concat_ws('|', {columns}) FROM {schema}.{table} ORDER BY id");
        client
            .query(&sql, &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }
}

/// A superuser's connection.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Asserts that the central database holds what the workstation holds: each row once, with its rev, digest and
/// content. Returns how many sessions and calls that is.
pub async fn assert_equal(workstation: &Workstation, central: &Central) -> (usize, usize) {
    let file = workstation.file();
    let local = |sql: &str| -> Vec<String> {
        let mut statement = file.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let sessions = local(
        "SELECT concat_ws('|', lower(hex(id)), rev, lower(hex(digest)), session_start, session_end,
                          total_duration_ms, source_id, project_id, interruptions_count)
         FROM metrics_sessions ORDER BY id",
    );
    let there = central
        .rows(
            "metrics_sessions",
            "replace(id::text, '-', ''), rev, encode(digest, 'hex'),
             (extract(epoch FROM session_start) * 1000000)::bigint,
             (extract(epoch FROM session_end) * 1000000)::bigint,
             total_duration_ms, source_id, project_id, interruptions_count",
        )
        .await;
    assert_same("sessions", &sessions, &there);
    let calls = local(
        "SELECT concat_ws('|', lower(hex(id)), lower(hex(session_id)), nullif(lower(hex(parent_id)), ''), rev,
                          lower(hex(digest)), tool_name, started_at, total_duration_ms, error_count, outcome,
                          output_size_bytes, program, duration_source, source_id)
         FROM tool_metrics ORDER BY id",
    );
    let there = central
        .rows(
            "tool_metrics",
            "replace(id::text, '-', ''), replace(session_id::text, '-', ''),
             replace(parent_id::text, '-', ''), rev, encode(digest, 'hex'), tool_name,
             (extract(epoch FROM started_at) * 1000000)::bigint, total_duration_ms, error_count, outcome,
             output_size_bytes, program, duration_source, source_id",
        )
        .await;
    assert_same("calls", &calls, &there);
    (sessions.len(), calls.len())
}

/// Compares row by row, so that a failure shows the first difference and not a hundred thousand rows.
#[track_caller]
fn assert_same(what: &str, here: &[String], there: &[String]) {
    for (n, (one, other)) in here.iter().zip(there).enumerate() {
        assert_eq!(
            one,
            other,
            "{what}: row {n} of {} here, {} there",
            here.len(),
            there.len()
        );
    }
    assert_eq!(here.len(), there.len(), "{what}");
}

/// A transcript of Claude Code in `folder`: one session, `calls` calls, every fifth of them failed.
pub fn transcript(folder: &Path, session: &str, calls: usize) -> PathBuf {
    let mut text = String::new();
    let line = |kind: &str, second: usize, content: Value| {
        let at = format!(
            "2026-01-05T{:02}:{:02}:{:02}Z",
            8 + second / 3600,
            second / 60 % 60,
            second % 60
        );
        serde_json::json!({
            "type": kind, "sessionId": session, "uuid": format!("{session}-{kind}-{second}"), "timestamp": at,
            "cwd": "/home/ada/work/pond", "version": "2.1.0",
            "message": {"role": kind, "content": content},
        })
        .to_string()
    };
    text.push_str(&line("user", 0, "please".into()));
    text.push('\n');
    for n in 0..calls {
        let id = format!("toolu_{session}_{n}");
        let tool = ["Bash", "Read", "Edit"][n % 3];
        let asked = serde_json::json!([{"type": "tool_use", "id": id, "name": tool, "input": {"command": "ls"}}]);
        let failed = n % 5 == 4;
        let told = serde_json::json!([{"type": "tool_result", "tool_use_id": id, "content": "x", "is_error": failed}]);
        text.push_str(&line("assistant", 2 * n + 1, asked));
        text.push('\n');
        text.push_str(&line("user", 2 * n + 2, told));
        text.push('\n');
    }
    let path = folder.join(format!("{session}.jsonl"));
    std::fs::write(&path, text).unwrap();
    path
}
