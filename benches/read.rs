//! Reading a tenant of a million calls: top tools over 30 days, pages, and what taking a connection costs.
//!
//! The rows are seeded, a working month of five people. Top tools are asked for since the middle of a working hour;
//! beside Millpond's answer stand the bare SQL over the calls, the bare SQL over the hours that the triggers keep, and
//! a count of all calls, which no full scan can undercut. A keyset page stands beside the page of the same number by
//! OFFSET. Taking a connection and a snapshot from the pool stands beside a snapshot on an open connection.
//!
//! `MILLPOND_BENCH_CALLS` (1000000) and `MILLPOND_BENCH_ROUNDS` (40) set the size.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]

mod rounds;

use std::hint::black_box;
use std::time::{Duration, Instant};

use millpond::domain::tenant::Domain;
use millpond::domain::units::Timestamp;
use millpond::seed::{SeedOptions, seed};
use millpond::store::{
    Cursor, Direction, Error, Home, MetricsFilter, MetricsKey, PageRequest, SessionFilter,
    SessionOrder, SessionSort, Store, TenantStore, ToolMetricFilter, ToolMetricOrder,
};
use rounds::{Contestant, compare, size};
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// The page that has to cost what the first costs.
const FAR: usize = 10_000;

fn main() {
    let rounds = size("MILLPOND_BENCH_ROUNDS", 40);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(Home::at(folder.path().join("home"))).unwrap();
    seeded(&store, size("MILLPOND_BENCH_CALLS", 1_000_000));
    let tenant = store.tenant(&Domain::parse("alder").unwrap()).unwrap();
    #[allow(
        clippy::disallowed_methods,
        reason = "the peer is SQLite without the store"
    )]
    let bare = Connection::open(tenant.path()).unwrap();
    bare.execute_batch("PRAGMA cache_size = -8192").unwrap();
    top_tools(&tenant, &bare, rounds);
    session_pages(&tenant, rounds);
    call_pages(&tenant, rounds);
    checkout(&tenant, &bare, rounds);
}

/// A Saturday's midnight, so that the 30th day before it is a working day.
fn until() -> Timestamp {
    Timestamp::parse("2026-10-31T00:00:00Z").unwrap()
}

fn seeded(store: &Store, calls: usize) {
    let options = SeedOptions::new(1, until())
        .and_then(|options| {
            options
                .with_days(31)?
                .with_tenants(1)?
                .with_calls(calls as u64)
        })
        .unwrap();
    let begun = Instant::now();
    let report = seed(store, &options, |_| {}).unwrap();
    let time = begun.elapsed().as_secs_f64();
    let seeded = &report.tenants[0];
    println!(
        "seed: {} sessions and {} calls in {time:.1} s, {:.0} rows/s",
        seeded.sessions,
        seeded.tool_metrics,
        seeded.inserted as f64 / time
    );
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    black_box(work());
    begun.elapsed()
}

fn top_tools(tenant: &TenantStore, bare: &Connection, rounds: usize) {
    const HOUR: i64 = 3_600_000;
    // Half past ten in the morning of most of them.
    let since = until().minus_millis(30 * 24 * HOUR + 17 * HOUR / 2);
    let asked = |sql: &'static str| {
        let mut statement = bare.prepare_cached(sql).unwrap();
        let rows: Vec<(String, i64)> = statement
            .query_map([since.as_micros()], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        rows
    };
    let over_calls = || {
        asked(
            "SELECT tool_name, sum(execution_count), sum(error_count), avg(total_duration_ms)
             FROM tool_metrics WHERE deleted_at IS NULL AND started_at >= ?1 GROUP BY 1 ORDER BY 2 DESC, 1",
        )
    };
    let over_hours = || {
        asked(
            "SELECT tool_name, sum(calls), sum(errors), sum(total_duration_ms) / sum(timed)
             FROM tool_hours WHERE hour >= ?1 / 3600000000 GROUP BY 1 ORDER BY 2 DESC, 1",
        )
    };
    let filter = MetricsFilter {
        since: Some(since),
        ..MetricsFilter::default()
    };
    let ours = || {
        tenant
            .read(|r| r.metrics(MetricsKey::Tool, filter))
            .unwrap()
    };
    let told: Vec<_> = ours().into_iter().map(|row| (row.key, row.calls)).collect();
    assert_eq!(told, over_calls());
    let count = || {
        bare.query_row("SELECT count(*) FROM tool_metrics", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    compare(
        "top tools over 30 days",
        rounds,
        ("question", 1),
        &mut [
            Contestant::new("bare SQL over the calls", || timed(over_calls)),
            Contestant::new("count of all calls", || timed(|| count().unwrap())),
            Contestant::new("bare SQL over the hours", || timed(over_hours)),
            Contestant::new("millpond metrics", || timed(ours)),
        ],
    );
}

/// The cursor behind so many pages.
fn behind<E>(
    pages: usize,
    limit: usize,
    mut page: impl FnMut(usize, Option<Cursor>) -> Result<Option<Cursor>, E>,
) -> Option<Cursor>
where
    E: std::fmt::Debug,
{
    let (mut left, mut cursor) = (pages * limit, None);
    while left > 0 {
        let step = left.min(1_000);
        cursor = page(step, cursor).unwrap();
        left -= step;
    }
    cursor
}

fn pages(
    title: &str,
    rounds: usize,
    limit: usize,
    cursor: Option<Cursor>,
    scroll: impl Fn(Option<Cursor>),
    numbered: impl Fn(PageRequest),
) {
    let request = |page: usize| PageRequest::new(page as u32, limit as u32).unwrap();
    compare(
        title,
        rounds,
        ("rows", limit),
        &mut [
            Contestant::new("by OFFSET, page 10,000", || {
                timed(|| numbered(request(FAR)))
            }),
            Contestant::new("by OFFSET, page 1", || timed(|| numbered(request(1)))),
            Contestant::new("by cursor, page 1", || timed(|| scroll(None))),
            Contestant::new("by cursor, page 10,000", || timed(|| scroll(cursor))),
        ],
    );
}

fn session_pages(tenant: &TenantStore, rounds: usize) {
    let all = SessionFilter::default();
    let scroll =
        |limit, after| tenant.read(|r| r.sessions().list(&all, SessionSort::Newest, limit, after));
    let count = tenant.read(|r| r.sessions().count()).unwrap() as usize;
    let limit = (count / (FAR + 1)).clamp(1, 50);
    let cursor = behind(FAR - 1, limit, |step, after| {
        scroll(step, after).map(|page| page.next)
    });
    let order = (SessionOrder::Start, Direction::Descending);
    pages(
        "pages of sessions",
        rounds,
        limit,
        cursor,
        |after| assert_eq!(scroll(limit, after).unwrap().rows.len(), limit),
        |request| {
            let page = tenant.read(|r| r.sessions().page(&all, order, request));
            assert_eq!(page.unwrap().data.len(), limit);
        },
    );
}

fn call_pages(tenant: &TenantStore, rounds: usize) {
    let all = ToolMetricFilter::default();
    let newest = Direction::Descending;
    let scroll = |limit, after| tenant.read(|r| r.tool_metrics().list(&all, newest, limit, after));
    let count = tenant.read(|r| r.tool_metrics().count()).unwrap() as usize;
    let limit = (count / (FAR + 1)).clamp(1, 50);
    let cursor = behind(FAR - 1, limit, |step, after| {
        scroll(step, after).map(|page| page.next)
    });
    let order = (ToolMetricOrder::Start, newest);
    pages(
        "pages of calls",
        rounds,
        limit,
        cursor,
        |after| assert_eq!(scroll(limit, after).unwrap().rows.len(), limit),
        |request| {
            let page = tenant.read(|r| r.tool_metrics().page(&all, order, request));
            assert_eq!(page.unwrap().data.len(), limit);
        },
    );
}

fn checkout(tenant: &TenantStore, bare: &Connection, rounds: usize) {
    const TIMES: usize = 1_000;
    let snapshot = || {
        let begun = Transaction::new_unchecked(bare, TransactionBehavior::Deferred).unwrap();
        drop(black_box(begun));
    };
    compare(
        "a connection and a snapshot",
        rounds,
        ("snapshots", TIMES),
        &mut [
            Contestant::new("bare, already open", || {
                timed(|| (0..TIMES).for_each(|_| snapshot()))
            }),
            Contestant::new("millpond read of nothing", || {
                timed(|| {
                    (0..TIMES).for_each(|_| tenant.read(|_| Ok::<_, Error>(())).unwrap());
                })
            }),
        ],
    );
}
