//! Goes through all calls of a tenant page by page, two ways: by keyset, and by number.
#![allow(clippy::print_stdout)]

use anyhow::Result;
use millpond::domain::units::Timestamp;
use millpond::seed::{SeedOptions, seed};
use millpond::store::{Direction, Home, PageRequest, Store, ToolMetricFilter, ToolMetricOrder};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
    let seeded = seed(&store, &SeedOptions::new(1, until)?.with_days(3)?, |_| ())?;
    let Some(first) = seeded.tenants.first() else {
        anyhow::bail!("nothing was seeded");
    };
    let tenant = store.tenant(&first.tenant.domain)?;
    let all = ToolMetricFilter::default();

    // A page names where the next one begins: page 1,000 costs what page 1 costs, and a call that is recorded
    // meanwhile moves none.
    let (mut after, mut pages, mut calls) = (None, 0, 0);
    loop {
        let page = tenant.read(|r| {
            r.tool_metrics()
                .list(&all, Direction::Descending, 100, after)
        })?;
        pages += 1;
        calls += page.rows.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    println!("{calls} calls on {pages} keyset pages");

    // For a table on a screen, in any order: the number of pages is known, and page n costs what n pages cost.
    let slowest = (ToolMetricOrder::Duration, Direction::Descending);
    let page = tenant.read(|r| {
        r.tool_metrics()
            .page(&all, slowest, PageRequest::new(1, 3)?)
    })?;
    println!(
        "{} calls on {} numbered pages",
        page.meta.total, page.meta.total_pages
    );
    for call in page.data {
        println!("{} took {:?} ms", call.tool_name, call.total_duration_ms);
    }
    Ok(())
}
