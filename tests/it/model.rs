//! Any sequence of repository operations agrees with an in-memory model: the same answers, and the same rows after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millpond::clock::Clock;
use millpond::domain::dashboard::{Dashboard, DashboardName, RefreshInterval};
use millpond::domain::ids::{DashboardId, TenantId, UserId};
use millpond::domain::json::JsonObject;
use millpond::domain::session::Session;
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::tool_metric::ToolMetric;
use millpond::domain::units::Timestamp;
use millpond::store::{Error, Home, SessionFilter, SessionSort, Sighting, Store, TenantStore};
use proptest::prelude::*;

use crate::fixture::{at, call, session, user};

/// A clock that moves by a microsecond whenever it is asked: two transactions never share a time.
#[derive(Debug)]
struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
}

/// What is done to one of few rows, so that they meet often. `u8`s name the row, then its value.
#[derive(Debug, Clone)]
enum Op {
    Insert(Kind, u8, u8),
    Update(Kind, u8, u8),
    Upsert(Kind, u8, u8),
    Delete(Kind, u8),
    Restore(Kind, u8),
    SetDefault(u8),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Session,
    Call,
    Dashboard,
}

fn operation() -> impl Strategy<Value = Op> {
    let kind = || prop_oneof![Just(Kind::Session), Just(Kind::Call), Just(Kind::Dashboard)];
    let (row, value) = (0..4_u8, 0..3_u8);
    prop_oneof![
        3 => (kind(), row.clone(), value.clone()).prop_map(|(k, r, v)| Op::Insert(k, r, v)),
        2 => (kind(), row.clone(), value.clone()).prop_map(|(k, r, v)| Op::Update(k, r, v)),
        2 => (kind(), row.clone(), value).prop_map(|(k, r, v)| Op::Upsert(k, r, v)),
        2 => (kind(), row.clone()).prop_map(|(k, r)| Op::Delete(k, r)),
        2 => (kind(), row.clone()).prop_map(|(k, r)| Op::Restore(k, r)),
        1 => row.prop_map(Op::SetDefault),
    ]
}

/// A row of the model: what it is, and by which operation it was deleted.
#[derive(Debug, Clone)]
struct Row<T> {
    value: T,
    deleted: Option<usize>,
}

/// What an operation answers: the sighting of an upsert, nothing, or the kind of error.
type Answer = Result<Option<Sighting>, &'static str>;

#[derive(Debug, Default)]
struct Model {
    sessions: BTreeMap<u8, Row<Session>>,
    calls: BTreeMap<u8, Row<ToolMetric>>,
    dashboards: BTreeMap<u8, Row<Dashboard>>,
}

/// Call `row` hangs on this session.
const fn session_of(row: u8) -> u8 {
    row % 2
}

fn make_session(user: UserId, row: u8, value: u8) -> Session {
    let mut made = session(user, &format!("s{row}"), 0);
    made.end_at(at(i64::from(value))).unwrap();
    made
}

fn make_call(user: UserId, row: u8, value: u8) -> ToolMetric {
    let mut made = call(
        &make_session(user, session_of(row), 0),
        &format!("c{row}"),
        1,
    );
    made.total_duration_ms = Some(i64::from(value));
    made
}

fn make_dashboard(user: UserId, row: u8, value: u8) -> Dashboard {
    let name = DashboardName::parse("name", &format!("d{row}")).unwrap();
    Dashboard {
        id: DashboardId::derive(user, &name),
        user_id: user,
        dashboard_name: name,
        description: None,
        widget_layout: JsonObject::default(),
        is_default: value == 2,
        is_public: value == 1,
        refresh_interval: RefreshInterval::parse(60).unwrap(),
        shared_with_roles: Vec::new(),
        version: i64::from(value) + 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn insert<T>(rows: &mut BTreeMap<u8, Row<T>>, row: u8, value: T) -> Answer {
    if rows.contains_key(&row) {
        return Err("unique_violation");
    }
    rows.insert(
        row,
        Row {
            value,
            deleted: None,
        },
    );
    Ok(None)
}

fn present<T>(rows: &mut BTreeMap<u8, Row<T>>, row: u8) -> Result<&mut Row<T>, &'static str> {
    rows.get_mut(&row)
        .filter(|row| row.deleted.is_none())
        .ok_or("not_found")
}

fn deleted<T>(rows: &mut BTreeMap<u8, Row<T>>, row: u8) -> Result<&mut Row<T>, &'static str> {
    rows.get_mut(&row)
        .filter(|row| row.deleted.is_some())
        .ok_or("not_found")
}

fn upsert<T: PartialEq>(rows: &mut BTreeMap<u8, Row<T>>, row: u8, value: T) -> Answer {
    let Some(known) = rows.get_mut(&row) else {
        insert(rows, row, value)?;
        return Ok(Some(Sighting::Inserted));
    };
    if known.deleted.is_none() && known.value == value {
        return Ok(Some(Sighting::Unchanged));
    }
    *known = Row {
        value,
        deleted: None,
    };
    Ok(Some(Sighting::Raised))
}

impl Model {
    fn apply(&mut self, user: UserId, step: usize, op: &Op) -> Answer {
        match *op {
            Op::Insert(Kind::Session, row, value) => {
                insert(&mut self.sessions, row, make_session(user, row, value))
            }
            Op::Update(Kind::Session, row, value) => {
                present(&mut self.sessions, row)?.value = make_session(user, row, value);
                Ok(None)
            }
            Op::Upsert(Kind::Session, row, value) => {
                upsert(&mut self.sessions, row, make_session(user, row, value))
            }
            Op::Delete(Kind::Session, row) => {
                present(&mut self.sessions, row)?.deleted = Some(step);
                let calls = self
                    .calls
                    .iter_mut()
                    .filter(|(call, _)| session_of(**call) == row);
                for (_, call) in calls {
                    call.deleted.get_or_insert(step);
                }
                Ok(None)
            }
            Op::Restore(Kind::Session, row) => {
                let when = deleted(&mut self.sessions, row)?.deleted.take();
                let calls = self
                    .calls
                    .iter_mut()
                    .filter(|(call, _)| session_of(**call) == row);
                for (_, call) in calls.filter(|(_, call)| call.deleted == when) {
                    call.deleted = None;
                }
                Ok(None)
            }
            Op::Insert(Kind::Call, row, _) | Op::Upsert(Kind::Call, row, _)
                if !self.calls.contains_key(&row)
                    && !self.sessions.contains_key(&session_of(row)) =>
            {
                Err("foreign_key")
            }
            Op::Insert(Kind::Call, row, value) => {
                insert(&mut self.calls, row, make_call(user, row, value))
            }
            Op::Update(Kind::Call, row, value) => {
                present(&mut self.calls, row)?.value = make_call(user, row, value);
                Ok(None)
            }
            Op::Upsert(Kind::Call, row, value) => {
                upsert(&mut self.calls, row, make_call(user, row, value))
            }
            Op::Delete(Kind::Call, row) => {
                present(&mut self.calls, row)?.deleted = Some(step);
                Ok(None)
            }
            Op::Restore(Kind::Call, row) => {
                deleted(&mut self.calls, row)?.deleted = None;
                Ok(None)
            }
            Op::Upsert(Kind::Dashboard, row, value) if self.dashboards.contains_key(&row) => {
                self.update_dashboard(make_dashboard(user, row, value), row)
            }
            Op::Insert(Kind::Dashboard, row, value) | Op::Upsert(Kind::Dashboard, row, value) => {
                let new = make_dashboard(user, row, value);
                if new.is_default && self.chosen().is_some() {
                    return Err("unique_violation");
                }
                insert(&mut self.dashboards, row, new)
            }
            Op::Update(Kind::Dashboard, row, value) => {
                self.update_dashboard(make_dashboard(user, row, value), row)
            }
            Op::Delete(Kind::Dashboard, row) => {
                let known = present(&mut self.dashboards, row)?;
                known.value.version += i64::from(known.value.is_default);
                known.value.is_default = false;
                known.deleted = Some(step);
                Ok(None)
            }
            Op::Restore(Kind::Dashboard, row) => {
                deleted(&mut self.dashboards, row)?.deleted = None;
                Ok(None)
            }
            Op::SetDefault(row) => {
                if present(&mut self.dashboards, row)?.value.is_default {
                    return Ok(None);
                }
                let before = self.chosen();
                for row in before.into_iter().chain([row]) {
                    let known = &mut present(&mut self.dashboards, row)?.value;
                    known.is_default = !known.is_default;
                    known.version += 1;
                }
                Ok(None)
            }
        }
    }

    fn chosen(&self) -> Option<u8> {
        let default = |row: &Row<Dashboard>| row.deleted.is_none() && row.value.is_default;
        self.dashboards
            .iter()
            .find(|(_, row)| default(row))
            .map(|(row, _)| *row)
    }

    fn update_dashboard(&mut self, new: Dashboard, row: u8) -> Answer {
        let known = &mut present(&mut self.dashboards, row)?.value;
        if known.version != new.version {
            return Err("stale");
        }
        *known = Dashboard {
            version: known.version + 1,
            is_default: known.is_default,
            ..new
        };
        Ok(None)
    }
}

fn perform(tenant: &TenantStore, user: UserId, op: &Op) -> Answer {
    let (one_session, one_call, board) = (
        |row| make_session(user, row, 0).id,
        |row| make_call(user, row, 0).id,
        |row| make_dashboard(user, row, 0).id,
    );
    tenant
        .write(|w| match *op {
            Op::Insert(Kind::Session, row, value) => w
                .sessions()
                .insert(&make_session(user, row, value))
                .map(|()| None),
            Op::Update(Kind::Session, row, value) => w
                .sessions()
                .update(&make_session(user, row, value))
                .map(|()| None),
            Op::Upsert(Kind::Session, row, value) => w
                .sessions()
                .upsert(&make_session(user, row, value))
                .map(Some),
            Op::Delete(Kind::Session, row) => w.sessions().delete(one_session(row)).map(|()| None),
            Op::Restore(Kind::Session, row) => {
                w.sessions().restore(one_session(row)).map(|()| None)
            }
            Op::Insert(Kind::Call, row, value) => w
                .tool_metrics()
                .insert(&make_call(user, row, value))
                .map(|()| None),
            Op::Update(Kind::Call, row, value) => w
                .tool_metrics()
                .update(&make_call(user, row, value))
                .map(|()| None),
            Op::Upsert(Kind::Call, row, value) => w
                .tool_metrics()
                .upsert(&make_call(user, row, value))
                .map(Some),
            Op::Delete(Kind::Call, row) => w.tool_metrics().delete(one_call(row)).map(|()| None),
            Op::Restore(Kind::Call, row) => w.tool_metrics().restore(one_call(row)).map(|()| None),
            Op::Insert(Kind::Dashboard, row, value) => w
                .dashboards()
                .insert(&make_dashboard(user, row, value))
                .map(|()| None),
            Op::Update(Kind::Dashboard, row, value) => w
                .dashboards()
                .update(&make_dashboard(user, row, value))
                .map(|_| None),
            Op::Upsert(Kind::Dashboard, row, value) => w
                .dashboards()
                .upsert(&make_dashboard(user, row, value))
                .map(|_| None),
            Op::Delete(Kind::Dashboard, row) => w.dashboards().delete(board(row)).map(|()| None),
            Op::Restore(Kind::Dashboard, row) => w.dashboards().restore(board(row)).map(|()| None),
            Op::SetDefault(row) => w.dashboards().set_default(board(row)).map(|_| None),
        })
        .map_err(|error: Error| error.kind())
}

fn agree(tenant: &TenantStore, user: UserId, model: &Model) {
    fn alive<T: Clone>(rows: &BTreeMap<u8, Row<T>>) -> Vec<T> {
        rows.values()
            .filter(|row| row.deleted.is_none())
            .map(|row| row.value.clone())
            .collect()
    }
    let by_id = |mut calls: Vec<ToolMetric>| {
        calls.sort_by_key(|call| call.id);
        calls
    };
    tenant
        .read(|r| {
            let filter = SessionFilter::default();
            let mut found = r
                .sessions()
                .list(&filter, SessionSort::Oldest, 10, None)?
                .rows;
            found.sort_by(|a, b| a.source_id.cmp(&b.source_id));
            assert_eq!(found, alive(&model.sessions));
            let mut calls = Vec::new();
            for row in 0..2 {
                calls.extend(r.tool_metrics().of_session(make_session(user, row, 0).id)?);
            }
            assert_eq!(r.tool_metrics().count()?, calls.len() as u64);
            assert_eq!(by_id(calls), by_id(alive(&model.calls)));
            let mut boards = r.dashboards().list(user)?;
            boards.sort_by(|a, b| a.dashboard_name.cmp(&b.dashboard_name));
            for board in &mut boards {
                board.updated_at = at(0);
            }
            assert_eq!(boards, alive(&model.dashboards));
            Ok::<_, Error>(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_agrees_with_the_model(ops in proptest::collection::vec(operation(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let clock = TickingClock(AtomicI64::new(at(0).as_micros()));
        let store = Store::init_with_clock(Home::at(folder.path().join("home")), Arc::new(clock)).unwrap();
        let domain = Domain::parse("acme").unwrap();
        let new = NewTenant {
            id: TenantId::generate(),
            domain: domain.clone(),
            name: TenantName::parse("name", "Acme").unwrap(),
            plan: Plan::Basic,
            admin_email: None,
        };
        store.create_tenant(&new).unwrap();
        let tenant = store.tenant(&domain).unwrap();
        let ada = user(&tenant, "ada@acme.dev").id;
        let mut model = Model::default();
        for (step, op) in ops.iter().enumerate() {
            let (expected, answer) = (model.apply(ada, step, op), perform(&tenant, ada, op));
            prop_assert_eq!(answer, expected, "step {}: {:?}", step, op);
        }
        agree(&tenant, ada, &model);
    }
}
