//! How SQLite finds a page of calls: by the index, at its place, in order.

use super::*;
use crate::domain::ids::TenantId;
use crate::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use crate::store::{Home, Store, TenantStore};

fn tenant(folder: &std::path::Path) -> TenantStore {
    let store = Store::init(Home::at(folder.join("home"))).unwrap();
    let domain = Domain::parse("acme").unwrap();
    let new = NewTenant {
        id: TenantId::generate(),
        domain: domain.clone(),
        name: TenantName::parse("name", "Acme").unwrap(),
        plan: Plan::Basic,
        admin_email: None,
    };
    store.create_tenant(&new).unwrap();
    store.tenant(&domain).unwrap()
}

fn plan(reader: &Reader<'_>, filter: &ToolMetricFilter, shape: (Direction, bool)) -> String {
    let conditions = reader.tool_metrics().conditions(filter).unwrap();
    let sql = page::keyset_sql(KEYSET, &conditions, shape);
    let mut statement = reader
        .connection()
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let steps: Vec<String> = statement
        .raw_query()
        .mapped(|row| row.get(3))
        .collect::<Result<_, _>>()
        .unwrap();
    steps.join("; ")
}

#[test]
fn a_page_of_calls_is_read_from_an_index_at_its_place_and_never_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = tenant(folder.path());
    let time = Some(Timestamp::from_micros(5).unwrap());
    let within = ToolMetricFilter {
        since: time,
        until: time,
        ..ToolMetricFilter::default()
    };
    let of_user = ToolMetricFilter {
        user: Some(UserId::from_uuid(uuid::Uuid::nil())),
        ..ToolMetricFilter::default()
    };
    tenant
        .read(|r| {
            for filter in [&ToolMetricFilter::default(), &within, &of_user] {
                for direction in [Direction::Ascending, Direction::Descending] {
                    for has_cursor in [false, true] {
                        let told = plan(r, filter, (direction, has_cursor));
                        assert!(told.contains("USING INDEX tool_metrics_start"), "{told}");
                        assert!(!told.contains("TEMP B-TREE"), "{told}");
                        // Begins at the cursor, and not at an end of the index.
                        assert!(!has_cursor || told.starts_with("SEARCH"), "{told}");
                    }
                }
            }
            Ok::<_, Error>(())
        })
        .unwrap();
}

#[test]
fn a_page_of_one_tool_or_category_sorts_only_calls_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let tenant = tenant(folder.path());
    let of_tool = ToolMetricFilter {
        tool: Some(ToolName::parse("tool name", "Bash").unwrap()),
        ..ToolMetricFilter::default()
    };
    let of_category = ToolMetricFilter {
        category: Some(ToolCategory::parse("category", "shell").unwrap()),
        ..ToolMetricFilter::default()
    };
    let of_session = ToolMetricFilter {
        session: Some(SessionId::from_uuid(uuid::Uuid::nil())),
        ..ToolMetricFilter::default()
    };
    tenant
        .read(|r| {
            for filter in [&of_tool, &of_category, &of_session] {
                let told = plan(r, filter, (Direction::Descending, true));
                assert!(told.starts_with("SEARCH"), "{told}");
                assert!(!told.contains("TEMP B-TREE FOR ORDER BY"), "{told}");
            }
            Ok::<_, Error>(())
        })
        .unwrap();
}
