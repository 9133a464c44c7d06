//! Bad values are refused at the type, before any statement; what only the schema can refuse leaves nothing behind.

use millpond::domain::json::JsonObject;
use millpond::domain::session::{Description, ProjectId, Score, Tag};
use millpond::domain::tenant::TenantName;
use millpond::domain::tool_metric::{CommandLine, Outcome, ToolName};
use millpond::domain::units::Timestamp;
use millpond::domain::user::{Email, PersonName, SsoUserId};
use millpond::store::{Error, SearchText};

use crate::fixture::{Fixture, at, call, session, user};

#[test]
fn every_text_refuses_nothing_nul_and_ten_megabytes() {
    let long = "x".repeat(10 << 20);
    for bad in ["", "a\0b", long.as_str()] {
        let refused = [
            ToolName::parse("tool name", bad).is_err(),
            CommandLine::parse("command line", bad).is_err(),
            Description::parse("description", bad).is_err(),
            ProjectId::parse("project", bad).is_err(),
            Tag::parse("tag", bad).is_err(),
            TenantName::parse("name", bad).is_err(),
            PersonName::parse("name", bad).is_err(),
            SsoUserId::parse("id", bad).is_err(),
            SearchText::parse("search", bad).is_err(),
            Email::parse(&format!("{bad}@acme.dev")).is_err(),
        ];
        assert_eq!(refused, [true; 10], "{} bytes", bad.len());
    }
    assert!(Email::parse("ada").is_err());
}

#[test]
fn times_scores_and_json_outside_their_ranges_are_refused() {
    assert!(Timestamp::parse("1969-12-31T23:59:59Z").is_err());
    assert!(Timestamp::parse("+10000-01-01T00:00:00Z").is_err());
    assert!(Timestamp::from_micros(-1).is_err() && Timestamp::from_micros(i64::MAX).is_err());
    assert!(Score::parse(101.0).is_err() && Score::parse(-1.0).is_err());
    for bad in [
        "[]",
        "\"x\"",
        "nonsense",
        r#"{"a":"\ud800"}"#,
        r#"{"a\u0000":1}"#,
    ] {
        assert!(JsonObject::parse("layout", bad).is_err(), "{bad} was taken");
    }
}

#[test]
fn a_row_that_contradicts_itself_is_refused_by_name_and_nothing_is_written() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut backwards = session(ada, "s", 10);
    assert!(backwards.end_at(at(9)).is_err());
    backwards.session_end = Some(at(9));
    let whole = session(ada, "t", 0);
    let mut impossible = call(&whole, "c", 1);
    impossible.error_count = 2;
    impossible.outcome = Outcome::Unknown;
    let mut no_json = call(&whole, "c", 1);
    no_json.parameters = Some("{".into());
    let check = |result: Result<(), Error>| match result.unwrap_err() {
        Error::Check { constraint, .. } => constraint,
        other => panic!("{other}"),
    };
    assert_eq!(
        check(tenant.write(|w| w.sessions().insert(&backwards))),
        "metrics_sessions_end"
    );
    for (bad, name) in [
        (impossible, "tool_metrics_error_count"),
        (no_json, "tool_metrics_parameters"),
    ] {
        let refused = tenant.write(|w| {
            w.sessions().insert(&whole)?;
            w.tool_metrics().insert(&bad)
        });
        assert_eq!(check(refused), name);
    }
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 0);
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 0);
}
