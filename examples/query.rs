//! Asks a tenant's rows with SELECT, and shows what is refused.
#![allow(clippy::print_stdout)]

use anyhow::Result;
use millpond::domain::units::Timestamp;
use millpond::seed::{SeedOptions, seed};
use millpond::store::{ExportFormat, ExportTable, Home, QueryLimits, Store};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
    let seeded = seed(&store, &SeedOptions::new(1, until)?.with_days(3)?, |_| ())?;
    let Some(first) = seeded.tenants.first() else {
        anyhow::bail!("nothing was seeded");
    };
    let tenant = store.tenant(&first.tenant.domain)?;

    let sql = "SELECT tool_name, count(*) AS calls FROM tool_metrics
               GROUP BY tool_name ORDER BY calls DESC, tool_name";
    let answer = tenant.query(sql, QueryLimits::default().with_rows(3)?)?;
    println!("{}", answer.columns.join("\t"));
    for row in &answer.rows {
        let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
        println!("{}", cells.join("\t"));
    }
    println!("truncated: {}", answer.truncated);

    for sql in ["DELETE FROM users", "SELECT zeroblob(900000000)"] {
        match tenant.query(sql, QueryLimits::default()) {
            Ok(_) => anyhow::bail!("{sql} was answered"),
            Err(error) => println!("{}: {error}", error.kind()),
        }
    }

    let mut lines = Vec::new();
    let rows = tenant.export(ExportTable::Users, ExportFormat::JsonLines, &mut lines)?;
    println!("{rows} users are {} bytes of JSON lines", lines.len());
    Ok(())
}
