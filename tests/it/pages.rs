//! Keyset pages: each row once, in order, in either direction.

use millpond::store::{Direction, Error, ToolMetricFilter};

use crate::fixture::{Fixture, call, session, user};

#[test]
fn pages_of_calls_hold_each_call_once_in_either_direction() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let whole = session(ada, "s", 0);
    tenant
        .write(|w| {
            w.sessions().insert(&whole)?;
            for n in 0..25 {
                // Three begin at the same moment: the id tells them apart.
                w.tool_metrics()
                    .insert(&call(&whole, &format!("c{n}"), n / 3))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let gone = call(&whole, "c7", 2).id;
    tenant.write(|w| w.tool_metrics().delete(gone)).unwrap();
    for direction in [Direction::Ascending, Direction::Descending] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = tenant
                .read(|r| {
                    let all = ToolMetricFilter::default();
                    r.tool_metrics().list(&all, direction, 7, after)
                })
                .unwrap();
            assert!(page.rows.len() == 7 || page.next.is_none());
            seen.extend(page.rows.iter().map(|row| (row.started_at, row.id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected = seen.clone();
        expected.sort();
        expected.dedup();
        assert_eq!(expected.len(), 24);
        if direction == Direction::Descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}
