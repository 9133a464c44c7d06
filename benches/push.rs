//! The whole way of a sync against the limit: every row from a tenant's file, with all bookkeeping (sealed batches,
//! journal, stream, upsert guarded by rev, row-level security as a device's login, acknowledgement), against binary
//! COPY of the same rows, held in memory, straight into the same tables with row-level security bypassed. Both over
//! one connection to one private PostgreSQL whose commits wait for the disk.
//!
//! `MILLPOND_BENCH_SESSIONS` (20000) with 20 calls each, and `MILLPOND_BENCH_ROUNDS` (3), set the size.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout
)]

mod limit;
mod rounds;
mod rows;

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use limit::Limit;
use millpond::domain::ids::UserId;
use millpond::domain::tenant::Domain;
use millpond::replication::TenantOutbox;
use millpond::store::{Home, Store};
use millpond_sync::engine::Engine;
use millpond_sync::plan::Patience;
use millpond_sync::postgres::central::{Central, Enrolment, NewTenant, Plan};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};
use millpond_sync::postgres::push::PostgresRemote;
use rounds::{Contestant, compare, size};
use rows::Rows;
use tokio::runtime::Runtime;

fn main() {
    let rows = Rows::new(size("MILLPOND_BENCH_SESSIONS", 20_000), 20);
    let folder = tempfile::tempdir().unwrap();
    let (store, tenant) = rows.tenant(folder.path());
    rows.record(&tenant);
    let tenant_id = tenant.tenant().id.as_uuid();
    let options = PrivateServerOptions {
        fsync: true,
        ..PrivateServerOptions::default()
    };
    let server = PrivateServer::start(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let admin = server.url("postgres");
    let enrolment = runtime.block_on(async {
        let central = Central::connect(&Endpoint::parse(&admin).unwrap())
            .await
            .unwrap();
        central.init().await.unwrap();
        let new = NewTenant {
            id: Some(tenant_id),
            domain: "acme".to_owned(),
            name: "Acme".to_owned(),
            plan: Plan::Basic,
        };
        central.create_tenant(&new).await.unwrap();
        central
            .enroll("acme", &[rows.user.email.to_string()], None)
            .await
            .unwrap()
    });
    assert_eq!(enrolment.users[0].id, rows.user.id.as_uuid());
    let limit = Limit::new(&runtime, &admin, &enrolment.schema_name, tenant.path());
    // Closed, so that the file is whole and can be copied for each round.
    let home = store.home().root().to_owned();
    drop((tenant, store));

    let mut contestants = [
        Contestant::new("binary COPY, RLS bypassed", || {
            limit.empty();
            let time = limit.copy();
            assert_eq!(limit.count(), rows.len() as u64);
            time
        }),
        Contestant::new("millpond sync", || {
            limit.empty();
            let time = sync(
                &runtime,
                &home,
                &folder.path().join("round"),
                &enrolment,
                rows.user.id,
            );
            assert_eq!(limit.count(), rows.len() as u64);
            time
        }),
    ];
    let rounds = size("MILLPOND_BENCH_ROUNDS", 3);
    compare("push", rounds, ("rows", rows.len()), &mut contestants);
}

/// Synchronises a copy of the home, in which every row waits.
fn sync(
    runtime: &Runtime,
    home: &Path,
    to: &Path,
    enrolment: &Enrolment,
    user: UserId,
) -> Duration {
    copy_folder(home, to);
    let store = Store::open(Home::at(to.to_owned())).unwrap();
    let tenant = store.tenant(&Domain::parse("acme").unwrap()).unwrap();
    let endpoint = Endpoint::parse(&enrolment.url).unwrap();
    let begun = Instant::now();
    let remote = PostgresRemote::new(endpoint, &enrolment.schema_name);
    let outbox = TenantOutbox::open(tenant.clone(), vec![user]).unwrap();
    let mut engine = Engine::new(outbox, remote, Patience::Attempts(5));
    runtime.block_on(engine.drain(|_| {})).unwrap();
    let time = begun.elapsed();
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 0);
    drop((engine, tenant, store));
    fs::remove_dir_all(to).unwrap();
    time
}

fn copy_folder(from: &Path, to: &Path) {
    fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
