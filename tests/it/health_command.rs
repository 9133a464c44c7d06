//! `millpond health`, as its users have it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::workstation::{Ran, Workstation};

fn kinds(health: &Value) -> Vec<&str> {
    let all = health["recommendations"].as_array().unwrap();
    all.iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect()
}

fn run_with(workstation: &Workstation, variable: (&str, &str), arguments: &[&str]) -> Ran {
    let mut command = workstation.command(arguments);
    command.env(variable.0, variable.1);
    Ran::of(&command.output().unwrap())
}

#[test]
fn a_fresh_home_is_healthy_and_the_object_is_the_contract_s() {
    let workstation = Workstation::of_ada();
    let health = workstation.run(&["health"]).json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["details"]["connection"], "ok");
    assert!(health["details"]["response_time_ms"].as_f64().unwrap() > 0.0);
    assert!(
        health["details"]["timestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    let metrics = &health["metrics"];
    assert!(metrics["active_connections"].as_u64().unwrap() >= 1);
    assert!(metrics["total_queries"].as_u64().unwrap() > 0);
    assert!(metrics["average_query_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(metrics["slow_queries"], 0);
    assert!(kinds(&health).is_empty());
    assert_eq!(health["tenants"][0]["domain"], "acme");
    assert_eq!(health["tenants"][0]["integrity_checked_at"], Value::Null);
}

#[test]
fn the_predecessor_s_threshold_decides_what_is_slow_and_a_bad_one_is_told() {
    let workstation = Workstation::of_ada();
    let all = run_with(&workstation, ("SLOW_QUERY_THRESHOLD_MS", "0"), &["health"]).json();
    assert_eq!(all["status"], "degraded");
    assert!(kinds(&all).contains(&"slow_statement"));
    assert_eq!(
        all["metrics"]["slow_queries"],
        all["metrics"]["total_queries"]
    );
    for name in ["SLOW_QUERY_THRESHOLD_MS", "DATABASE_QUERY_TIMEOUT_MS"] {
        let refused = run_with(&workstation, (name, "soon"), &["metrics"]);
        assert_eq!(refused.refused(78), "configuration");
        assert!(refused.stdout.contains(name), "{}", refused.stdout);
    }
    run_with(
        &workstation,
        ("DATABASE_QUERY_TIMEOUT_MS", "60000"),
        &["metrics"],
    )
    .json();
}

#[test]
fn work_that_runs_longer_than_the_predecessor_s_timeout_is_ended() {
    let workstation = Workstation::of_ada();
    workstation
        .run(&["seed", "--tenants", "1", "--calls", "20000"])
        .json();
    let limit = ("DATABASE_QUERY_TIMEOUT_MS", "1");
    // By project every call is read: no machine reads 20,000 in a millisecond.
    let ended = run_with(
        &workstation,
        limit,
        &["metrics", "--tenant", "alder", "--by", "project"],
    );
    assert_eq!(ended.refused(75), "timed_out");
}

#[test]
fn the_integrity_is_checked_and_noted_and_damage_is_a_failure() {
    let workstation = Workstation::of_ada();
    let health = workstation.run(&["health", "--integrity"]).json();
    assert_eq!(
        health["tenants"][0]["integrity_found"],
        serde_json::json!([])
    );
    let again = workstation.run(&["health", "--tenant", "acme"]).json();
    assert_eq!(again["tenants"][0]["integrity_problems"], 0);
    assert!(again["tenants"][0]["integrity_checked_at"].is_string());
    workstation
        .file()
        .execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE users SET login_count = -1")
        .unwrap();
    let damaged = workstation.run(&["health", "--integrity"]);
    assert_eq!(damaged.code, 1, "{}", damaged.stderr);
    let damaged = damaged.any_json();
    assert_eq!(damaged["status"], "unhealthy");
    assert_eq!(kinds(&damaged), ["damaged"]);
    let found = damaged["tenants"][0]["integrity_found"].to_string();
    assert!(found.contains("users"), "{found}");
}

#[test]
fn a_broken_file_is_told_and_the_others_go_on() {
    let workstation = Workstation::of_ada();
    workstation.add_umbra();
    let path = workstation.tenant()["path"].as_str().unwrap().to_owned();
    std::fs::write(path, "no database").unwrap();
    for arguments in [&["health"][..], &["health", "--integrity"]] {
        let ran = workstation.run(arguments);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let health = ran.any_json();
        assert_eq!(health["status"], "unhealthy");
        assert_eq!(health["details"]["connection"], "failed");
        assert_eq!(health["tenants"][0]["error"]["kind"], "corrupt");
        assert_eq!(health["tenants"][1]["status"], "healthy");
        assert_eq!(kinds(&health), ["unreadable"]);
    }
    let fine = workstation.run(&["health", "--tenant", "umbra"]).json();
    assert_eq!(fine["status"], "healthy");
    let missing = workstation.run(&["health", "--tenant", "nowhere"]);
    assert_eq!(missing.refused(1), "not_found");
}

#[test]
fn people_are_told_what_is_the_matter_and_what_to_do() {
    let workstation = Workstation::of_ada();
    let mut command = workstation.command(&["health"]);
    let arguments: Vec<_> = command
        .get_args()
        .filter(|a| *a != "--json")
        .map(ToOwned::to_owned)
        .collect();
    let program = command.get_program().to_owned();
    command = std::process::Command::new(program);
    command
        .args(arguments)
        .env("MILLPOND_HOME", workstation.home())
        .env("SLOW_QUERY_THRESHOLD_MS", "0");
    let told = Ran::of(&command.output().unwrap());
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stdout.starts_with("degraded: "), "{}", told.stdout);
    assert!(told.stdout.contains("acme: statement ") && told.stdout.contains("\nhint: "));
}

/// Reads Prometheus' text format, as its specification has it: a family's help and type come before its samples, and
/// no sample comes twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut family = ("", "");
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            family = about.split_once(' ').unwrap();
            assert!(
                ["counter", "gauge", "summary"].contains(&family.1),
                "{line}"
            );
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        assert!(name.starts_with("millpond_"), "{line}");
        let own = name
            .strip_prefix(family.0)
            .unwrap_or_else(|| panic!("{line} in {family:?}"));
        let suffixes: &[&str] = if family.1 == "summary" {
            &["", "_sum", "_count"]
        } else {
            &[""]
        };
        assert!(suffixes.contains(&own), "{line}");
        assert_eq!(family.1 == "counter", name.ends_with("_total"), "{line}");
        assert!(labels.ends_with("\"}"), "{line}");
        let value: f64 = value.parse().unwrap();
        assert!(
            samples.insert(series.to_owned(), value).is_none(),
            "{line} comes twice"
        );
    }
    samples
}

#[test]
fn prometheus_reads_the_figures() {
    let workstation = Workstation::of_ada();
    workstation.add_umbra();
    let both = workstation.run(&["health", "--prometheus"]);
    assert_eq!(both.refused(2), "usage");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_millpond"));
    command
        .args(["health", "--prometheus"])
        .env("MILLPOND_HOME", workstation.home());
    let ran = Ran::of(&command.output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let samples = parse(&ran.stdout);
    for tenant in ["acme", "umbra"] {
        let status = samples[&format!("millpond_health_status{{tenant=\"{tenant}\"}}")];
        assert!(status.abs() < f64::EPSILON, "{status}");
        assert!(samples[&format!("millpond_file_bytes{{tenant=\"{tenant}\"}}")] > 0.0);
    }
    let of = |start: &str, end: &str| -> Vec<f64> {
        let matching = samples
            .iter()
            .filter(|(name, _)| name.starts_with(start) && name.contains(end));
        matching.map(|(_, value)| *value).collect()
    };
    let quantiles = of(
        "millpond_statement_seconds{tenant=\"acme\"",
        "quantile=\"0.99\"",
    );
    let counts = of("millpond_statement_seconds_count{tenant=\"acme\"", "");
    let infos = of("millpond_statement_info{", "SELECT");
    assert!(!quantiles.is_empty() && quantiles.len() == counts.len() && !infos.is_empty());
    assert!(counts.iter().all(|count| *count >= 1.0));
    assert!(
        quantiles.iter().all(|time| *time > 0.0 && *time < 60.0),
        "seconds"
    );
}
