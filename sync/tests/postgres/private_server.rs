//! The private server leaves nothing behind, comes back after an outage, and says who may log in.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use millpond_sync::fault::Fault;
use millpond_sync::postgres::connect::connect;
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};

use crate::support::{LIMIT, eventually};

fn folders() -> Vec<PathBuf> {
    std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("millpond-pg-")
        })
        .collect()
}

async fn gone(folder: &Path, port: u16) -> bool {
    !folder.exists()
        && tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
}

#[tokio::test]
async fn an_outage_is_transient_and_ends() {
    let mut server = PrivateServer::start(&PrivateServerOptions::default()).unwrap();
    let endpoint = Endpoint::parse(&server.admin_url()).unwrap();
    drop(connect(&endpoint, LIMIT).await.unwrap());

    server.halt().unwrap();
    assert_eq!(
        connect(&endpoint, LIMIT).await.unwrap_err().fault,
        Fault::Transient
    );

    server.resume().unwrap();
    drop(connect(&endpoint, LIMIT).await.unwrap());
    server.stop();
    server.stop();
    assert_eq!(
        connect(&endpoint, LIMIT).await.unwrap_err().fault,
        Fault::Transient
    );
}

#[tokio::test]
async fn a_wrong_password_is_the_logins_fault_and_is_not_shown() {
    let url = crate::support::cluster().admin_url();
    let (before, after) = url.split_once('@').unwrap();
    let (login, _) = before.rsplit_once(':').unwrap();
    let endpoint = Endpoint::parse(&format!("{login}:hunter2@{after}")).unwrap();
    let error = connect(&endpoint, LIMIT).await.unwrap_err();
    assert_eq!(error.fault, Fault::Login);
    assert_eq!(error.sqlstate.as_deref(), Some("28P01"));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_kept_data_directory_is_opened_again_with_its_password() {
    let parent = tempfile::Builder::new()
        .prefix("millpond-kept-")
        .tempdir()
        .unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(
        parent.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let options = PrivateServerOptions {
        data_dir: Some(parent.path().join("data")),
        ..Default::default()
    };
    for _ in 0..2 {
        let mut server = PrivateServer::start(&options).unwrap();
        let endpoint = Endpoint::parse(&server.admin_url()).unwrap();
        drop(connect(&endpoint, LIMIT).await.unwrap());
        server.stop();
    }
}

#[test]
fn a_setting_that_the_server_refuses_is_reported_with_its_log() {
    let options = PrivateServerOptions {
        settings: vec![("no_such_setting".into(), "1".into())],
        ..Default::default()
    };
    let error = PrivateServer::start(&options).unwrap_err();
    assert!(
        format!("{error:?}").contains("no_such_setting"),
        "{error:?}"
    );
}

/// The process that the next test kills: it holds a server until it is told nothing more.
#[test]
#[ignore = "run by the_parents_death_ends_the_server"]
fn holds_a_server() {
    let before = folders();
    let server = PrivateServer::start(&PrivateServerOptions::default()).unwrap();
    let folder = folders()
        .into_iter()
        .find(|folder| !before.contains(folder))
        .unwrap();
    println!("\nserver {} {}", server.port(), folder.display());
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[tokio::test]
async fn the_parents_death_ends_the_server_and_removes_its_folder() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "private_server::holds_a_server",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("server "))
        .unwrap();
    let mut words = line.split_whitespace().skip(1);
    let port: u16 = words.next().unwrap().parse().unwrap();
    let folder = PathBuf::from(words.next().unwrap());
    assert!(folder.exists());

    // SIGKILL: nothing in the process itself can clean up.
    holder.kill().unwrap();
    holder.wait().unwrap();

    eventually(Duration::from_secs(20), async || gone(&folder, port).await).await;
}
