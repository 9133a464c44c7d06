//! A thousand tenants in one process: opened, read, and at rest; and `millpond db status` over all of them.
//!
//! At rest is after the pools have closed what was idle, which they look for every 30 s: the bench waits for it.
//! Open connections are the process' open handles of `tenant.db` files, its threads and resident memory what /proc
//! says: it needs Linux. `MILLPOND_BENCH_TENANTS` (1000) sets the size.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout
)]

mod rounds;

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use millpond::domain::ids::TenantId;
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::store::{Error, Home, Store, TenantStore};
use rounds::{Contestant, compare, size};

fn main() {
    let count = size("MILLPOND_BENCH_TENANTS", 1_000);
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let store = Store::init(Home::at(home.clone())).unwrap();
    show("an empty home", Duration::ZERO);
    let domains: Vec<Domain> = (0..count)
        .map(|n| Domain::parse(&format!("tenant-{n}")).unwrap())
        .collect();
    let begun = Instant::now();
    for domain in &domains {
        let new = NewTenant {
            id: TenantId::generate(),
            domain: domain.clone(),
            name: TenantName::parse("name", domain.as_str()).unwrap(),
            plan: Plan::Basic,
            admin_email: None,
        };
        store.create_tenant(&new).unwrap();
    }
    show(&format!("{count} tenants made"), begun.elapsed());
    let begun = Instant::now();
    for domain in &domains {
        let tenant = store.tenant(domain).unwrap();
        tenant
            .read(|r| r.sessions().count().map(drop))
            .unwrap_or_else(|error: Error| panic!("{error}"));
    }
    show("each opened, read and dropped", begun.elapsed());
    let begun = Instant::now();
    // Nothing is ever sent: it is waited for.
    let (_nobody, never) = mpsc::channel::<()>();
    while open_files() > 0 && begun.elapsed() < Duration::from_secs(120) {
        let _ = never.recv_timeout(Duration::from_millis(500));
    }
    show("at rest", begun.elapsed());
    assert_eq!(open_files(), 0, "a tenant at rest costs no connection");
    let begun = Instant::now();
    let tenants: Vec<TenantStore> = domains
        .iter()
        .map(|domain| store.tenant(domain).unwrap())
        .collect();
    show("all opened, every handle kept", begun.elapsed());
    let begun = Instant::now();
    for tenant in &tenants {
        tenant.read(|r| r.sessions().count()).unwrap();
    }
    show("each read once, every handle kept", begun.elapsed());
    drop(tenants);
    show("the handles dropped", Duration::ZERO);
    status(&home, count);
}

fn status(home: &std::path::Path, count: usize) {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.args(arguments).env("MILLPOND_HOME", home);
        let begun = Instant::now();
        let ran = command.output().unwrap();
        let time = begun.elapsed();
        assert!(ran.status.success());
        (time, String::from_utf8(ran.stdout).unwrap())
    };
    let (_, printed) = run(&["db", "status", "--json"]);
    assert_eq!(printed.matches("\"kind\":\"tenant\"").count(), count);
    compare(
        "db status",
        size("MILLPOND_BENCH_ROUNDS", 5),
        ("tenants", count),
        &mut [
            Contestant::new("millpond --version", || run(&["--version"]).0),
            Contestant::new("millpond db status --json", || {
                run(&["db", "status", "--json"]).0
            }),
        ],
    );
}

/// How many handles of tenants' files the process holds.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|path| path.ends_with("tenant.db"))
        .count()
}

fn show(what: &str, time: Duration) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse::<f64>().unwrap()
    };
    println!(
        "  {what:<36} {:>8.3} s  {:>5} connections  {:>3} threads  RSS {:>6.1} MiB",
        time.as_secs_f64(),
        open_files(),
        field("Threads:"),
        field("VmRSS:") / 1_024.0
    );
}
