//! Figures that are kept by hour against the calls themselves, and pages of calls.

use millpond::domain::tool_metric::{Outcome, ToolCategory, ToolMetric, ToolName};
use millpond::domain::units::Timestamp;
use millpond::domain::user::User;
use millpond::store::{
    Direction, Error, MetricsFilter, MetricsKey, MetricsRow, TenantStore, ToolMetricFilter,
};
use rusqlite::{Connection, params};

use crate::fixture::{Fixture, at, call, session, user};

/// The same small numbers every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u32::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(u32::try_from(of.len()).unwrap()) as usize]
    }
}

/// Calls of two users in the hours about a midnight, some at the same moment.
fn calls(users: [&User; 2], chance: &mut Chance, count: usize) -> Vec<ToolMetric> {
    let tools = [("Bash", "shell"), ("Read", "file"), ("Edit", "file")];
    (0..count)
        .map(|n| {
            let own = session(chance.pick(&users).id, "s", 0);
            let second = 14 * 3_600 + i64::from(chance.below(4 * 360)) * 10;
            let (tool, category) = *chance.pick(&tools);
            let outcome = *chance.pick(&Outcome::ALL);
            ToolMetric {
                tool_name: ToolName::parse("tool", tool).unwrap(),
                tool_category: ToolCategory::parse("category", category).unwrap(),
                outcome,
                error_count: i64::from(outcome == Outcome::Error),
                total_duration_ms: (chance.below(4) > 0).then(|| i64::from(chance.below(900))),
                ..call(&own, &format!("c{n}"), second)
            }
        })
        .collect()
}

fn with_calls(fixture: &Fixture, count: usize) -> (TenantStore, Vec<ToolMetric>) {
    let tenant = fixture.tenant("acme");
    let (ada, bo) = (user(&tenant, "ada@acme.dev"), user(&tenant, "bo@acme.dev"));
    let calls = calls([&ada, &bo], &mut Chance(7), count);
    let write = tenant.write(|w| {
        for user in [&ada, &bo] {
            w.sessions().record(&session(user.id, "s", 0))?;
        }
        calls
            .iter()
            .try_for_each(|call| w.tool_metrics().record(call).map(drop))
    });
    write.unwrap_or_else(|error: Error| panic!("{error}"));
    (tenant, calls)
}

fn other_program(tenant: &TenantStore) -> Connection {
    #[allow(clippy::disallowed_methods, reason = "another program's connection")]
    let file = Connection::open(tenant.path()).unwrap();
    file.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    file
}

fn lines(file: &Connection, sql: &str) -> Vec<String> {
    let mut statement = file.prepare(sql).unwrap();
    let columns = statement.column_count();
    statement
        .query_map([], |row| {
            (0..columns)
                .map(|at| Ok(format!("{:?}", row.get_ref(at)?)))
                .collect::<Result<Vec<_>, _>>()
        })
        .unwrap()
        .map(|line| line.unwrap().join(" "))
        .collect()
}

fn assert_hours_are_right(file: &Connection, after: &str) {
    let kept = lines(file, "SELECT * FROM tool_hours ORDER BY 1, 2, 3, 4");
    let counted = lines(
        file,
        "SELECT started_at / 3600000000, tool_name, tool_category, user_id, count(*), sum(execution_count),
                sum(error_count), sum(outcome = 'unknown'), count(total_duration_ms),
                coalesce(sum(total_duration_ms), 0), min(started_at), max(started_at)
         FROM tool_metrics WHERE deleted_at IS NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    );
    assert_eq!(kept, counted, "after {after}");
}

#[test]
fn figures_by_hour_are_those_of_the_calls_whatever_any_program_does_to_them() {
    let fixture = Fixture::new();
    let (tenant, calls) = with_calls(&fixture, 200);
    let file = other_program(&tenant);
    assert_hours_are_right(&file, "recording");
    let changes = [
        "UPDATE tool_metrics SET started_at = started_at + 3600000000 WHERE id = ?1",
        "UPDATE tool_metrics SET started_at = started_at - 7000000 WHERE id = ?1",
        "UPDATE tool_metrics SET tool_name = 'Bash', tool_category = 'shell' WHERE id = ?1",
        "UPDATE tool_metrics SET total_duration_ms = coalesce(total_duration_ms, 3) * 2 WHERE id = ?1",
        "UPDATE tool_metrics SET total_duration_ms = NULL, outcome = 'unknown' WHERE id = ?1",
        "UPDATE tool_metrics SET execution_count = execution_count + 2, error_count = 1 WHERE id = ?1",
        "UPDATE tool_metrics SET deleted_at = 5 WHERE id = ?1",
        "UPDATE tool_metrics SET deleted_at = NULL WHERE id = ?1",
        "UPDATE tool_metrics SET user_id = (SELECT max(id) FROM users) WHERE id = ?1",
        "UPDATE tool_metrics SET program = 'cargo' WHERE id = ?1",
        "DELETE FROM tool_metrics WHERE id = ?1",
    ];
    let mut dice = Chance(11);
    for _ in 0..600 {
        let change = *dice.pick(&changes);
        let of = dice.pick(&calls);
        file.execute(change, params![of.id.as_uuid()]).unwrap();
        assert_hours_are_right(&file, change);
    }
    file.execute_batch("UPDATE tool_metrics SET deleted_at = 9")
        .unwrap();
    assert_hours_are_right(&file, "deleting all");
    let left: i64 = file
        .query_row("SELECT count(*) FROM tool_hours", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

fn small(number: i64) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// What the calls themselves come to.
fn counted(
    calls: &[ToolMetric],
    users: &[User],
    key: MetricsKey,
    since: Timestamp,
) -> Vec<MetricsRow> {
    let mut rows: Vec<MetricsRow> = Vec::new();
    for call in calls.iter().filter(|call| call.started_at >= since) {
        let name = match key {
            MetricsKey::Tool => call.tool_name.to_string(),
            MetricsKey::Category => call.tool_category.to_string(),
            MetricsKey::Day => call.started_at.to_string()[..10].to_owned(),
            MetricsKey::User => {
                let user = users.iter().find(|user| user.id == call.user_id);
                user.unwrap().email.to_string()
            }
            MetricsKey::Project => "(none)".to_owned(),
        };
        let place = rows
            .iter()
            .position(|row| row.key == name)
            .unwrap_or_else(|| {
                rows.push(MetricsRow {
                    key: name,
                    calls: 0,
                    errors: 0,
                    unknown: 0,
                    timed: 0,
                    total_duration_ms: 0,
                    average_duration_ms: None,
                    first: call.started_at,
                    last: call.started_at,
                });
                rows.len() - 1
            });
        let row = &mut rows[place];
        row.calls += call.execution_count;
        row.errors += call.error_count;
        row.unknown += i64::from(call.outcome == Outcome::Unknown);
        row.timed += i64::from(call.total_duration_ms.is_some());
        row.total_duration_ms += call.total_duration_ms.unwrap_or(0);
        row.first = row.first.min(call.started_at);
        row.last = row.last.max(call.started_at);
    }
    for row in &mut rows {
        row.average_duration_ms =
            (row.timed > 0).then(|| small(row.total_duration_ms) / small(row.timed));
    }
    rows.sort_by_key(|row| {
        let least = if key == MetricsKey::Day {
            0
        } else {
            -row.calls
        };
        (least, row.key.clone())
    });
    rows
}

#[test]
fn figures_since_any_moment_are_those_of_the_calls_that_began_then_or_later() {
    let fixture = Fixture::new();
    let (tenant, calls) = with_calls(&fixture, 300);
    let users = tenant.read(|r| r.users().list()).unwrap();
    let mut moments = vec![at(0), at(14 * 3_600), at(15 * 3_600), at(99 * 3_600)];
    moments.extend(calls.iter().take(40).map(|call| call.started_at));
    moments.extend((0..40).map(|n| at(14 * 3_600 + n * 337)));
    for since in moments {
        for key in [
            MetricsKey::Tool,
            MetricsKey::Category,
            MetricsKey::Day,
            MetricsKey::User,
            MetricsKey::Project,
        ] {
            let filter = MetricsFilter {
                since: Some(since),
                ..MetricsFilter::default()
            };
            let told = tenant.read(|r| r.metrics(key, filter)).unwrap();
            assert_eq!(told, counted(&calls, &users, key, since), "{key:?} {since}");
        }
    }
    let all = tenant
        .read(|r| r.metrics(MetricsKey::Day, MetricsFilter::default()))
        .unwrap();
    assert_eq!(all, counted(&calls, &users, MetricsKey::Day, at(0)));
    assert_eq!(all.len(), 2);
}

#[test]
fn a_walk_through_the_pages_of_calls_shows_each_once_and_in_order() {
    let fixture = Fixture::new();
    let (tenant, calls) = with_calls(&fixture, 500);
    let mut expected: Vec<_> = calls
        .iter()
        .map(|call| (call.started_at, call.id))
        .collect();
    expected.sort();
    let bash = ToolMetricFilter {
        tool: Some(ToolName::parse("tool", "Bash").unwrap()),
        ..ToolMetricFilter::default()
    };
    for direction in [Direction::Ascending, Direction::Descending] {
        for filter in [&ToolMetricFilter::default(), &bash] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = tenant
                    .read(|r| r.tool_metrics().list(filter, direction, 7, after))
                    .unwrap();
                assert!(page.rows.len() == 7 || page.next.is_none());
                seen.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut wanted = expected.clone();
            if let Some(tool) = &filter.tool {
                let of_tool = |id| {
                    calls
                        .iter()
                        .any(|call| call.id == id && call.tool_name == *tool)
                };
                wanted.retain(|(_, id)| of_tool(*id));
            }
            if direction == Direction::Descending {
                wanted.reverse();
            }
            let seen: Vec<_> = seen.iter().map(|call| (call.started_at, call.id)).collect();
            assert_eq!(seen, wanted, "{direction:?}");
        }
    }
}
