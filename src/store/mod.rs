//! The store: a registry of tenants, and one SQLite file for each.
//!
//! Purpose: the only code that opens SQLite. Depends on [`crate::domain`] and [`crate::clock`].
//! Invariants: no query runs without a tenant's handle; a handle carries its tenant's id, and the file's own id is
//! checked against it whenever a connection is opened; only a [`Writer`] writes, and it lives inside an IMMEDIATE
//! transaction; directories are 0700 and files 0600; nothing is created where only opening was asked for; a file of
//! a newer schema, of another program or of another tenant is refused.

mod acting;
mod batch;
mod columns;
pub(crate) mod connection;
mod dashboards;
mod digest;
mod enrolments;
mod error;
mod export;
mod filter;
pub mod health;
mod home;
mod hook;
mod lease;
mod metrics;
mod migrate;
mod migrations;
pub mod outbox;
mod page;
mod pool;
mod query;
mod queue;
mod registry;
mod rekey;
mod rows;
pub mod schema;
mod scope;
mod sessions;
mod shortcut;
pub(crate) mod statement;
mod tenant;
mod tenants;
mod tool_metrics;
mod transaction;
mod users;
pub mod watch;

use std::path::PathBuf;
use std::sync::Arc;

pub use acting::{ReaderAs, WriterAs};
pub use batch::{
    Batch, BatchEnd, BatchOutcome, BatchProgress, Cancel, ChunkDone, ChunkError, ChunkFailed,
    OnFailure,
};
pub use connection::FileKind;
pub use dashboards::{DashboardFilter, DashboardOrder, Dashboards, DashboardsMut};
pub use enrolments::{EnrolledUser, Enrolment};
pub use error::Error;
pub use export::{ExportFormat, ExportTable};
pub use filter::{Deleted, SearchText};
pub use home::{FileLock, Home, OTHERS_MAY_ENTER};
pub use hook::HookStore;
pub use lease::Timeouts;
pub use metrics::{MetricsFilter, MetricsKey, MetricsRow};
pub use migrations::Migrations;
pub use page::{Cursor, Direction, NumberedPage, Page, PageMeta, PageRequest};
pub use query::{QueryAnswer, QueryError, QueryLimits, QueryValue};
pub use rows::{Bulk, OnDuplicate};
pub use scope::TenantScope;
pub use sessions::{SessionFilter, SessionOrder, SessionSort, Sessions, SessionsMut};
pub use tenant::{Reader, TenantStore, Writer};
pub use tenants::{TenantFilter, TenantOrder};
pub use tool_metrics::{ToolMetricFilter, ToolMetricOrder, ToolMetrics, ToolMetricsMut};
pub use users::{UserFilter, UserOrder, Users, UsersMut};

use crate::clock::{Clock, SystemClock};
use crate::domain::ids::TenantId;
use crate::domain::tenant::{Domain, NewTenant, Tenant};
use connection::{Access, Use};
use pool::Pools;
use registry::Registry;
use watch::Watch;

/// What recording a sighting did to the row that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// There was no such row; there is now.
    Inserted,
    /// The row learned something.
    Raised,
    /// The row knew it all.
    Unchanged,
}

/// All tenants of one home.
#[derive(Debug)]
pub struct Store {
    home: Home,
    registry: Registry,
    pools: Pools,
    timeouts: Timeouts,
    watch: Arc<Watch>,
    clock: Arc<dyn Clock>,
    migrations: Migrations,
}

impl Store {
    /// Opens the home, making it and its registry where there is none.
    ///
    /// # Errors
    /// [`Error::NotOurs`] where another user owns the home or others may enter it, [`Error::SchemaNewer`] where a newer Millpond wrote the
    /// registry, and what the file system says.
    pub fn init(home: Home) -> Result<Self, Error> {
        home.create()?;
        Self::assemble(
            home,
            Arc::new(SystemClock),
            Access::Create,
            Migrations::embedded(),
        )
    }

    /// Opens an existing home.
    ///
    /// # Errors
    /// [`Error::NoHome`] where there is none, and those of [`Store::init`].
    pub fn open(home: Home) -> Result<Self, Error> {
        Self::open_with(home, Migrations::embedded())
    }

    /// Opens an existing home and brings its files up to date with a list of migrations of the caller's.
    ///
    /// # Errors
    /// Those of [`Store::open`], and [`Error::Migration`] where the registry's fails.
    pub fn open_with(home: Home, migrations: Migrations) -> Result<Self, Error> {
        home.check()?;
        Self::assemble(home, Arc::new(SystemClock), Access::Existing, migrations)
    }

    /// Opens a home with a clock of the caller's, making it where there is none.
    ///
    /// # Errors
    /// Those of [`Store::init`].
    pub fn init_with_clock(home: Home, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        home.create()?;
        Self::assemble(home, clock, Access::Create, Migrations::embedded())
    }

    fn assemble(
        home: Home,
        clock: Arc<dyn Clock>,
        access: Access,
        migrations: Migrations,
    ) -> Result<Self, Error> {
        let registry = Registry::open(&home, access, Use::Ordinary, &migrations)?;
        Ok(Self::of(home, registry, clock, migrations))
    }

    fn of(home: Home, registry: Registry, clock: Arc<dyn Clock>, migrations: Migrations) -> Self {
        Self {
            home,
            registry,
            pools: Pools::default(),
            timeouts: Timeouts::default(),
            watch: Arc::new(Watch::new(clock.now())),
            clock,
            migrations,
        }
    }

    /// The home that this store is of.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// The clock that stamps what is written.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// What watches the work on the tenants.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Every tenant, by domain.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn tenants(&self) -> Result<Vec<Tenant>, Error> {
        self.registry.list()
    }

    /// The registry's entry of one tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant.
    pub fn find_tenant(&self, domain: &Domain) -> Result<Tenant, Error> {
        self.registry.find(domain).map(|entry| entry.tenant)
    }

    /// Makes a tenant: its directory, its file, and last its entry in the registry.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where the domain, id or schema name is taken; nothing is left behind then.
    pub fn create_tenant(&self, new: &NewTenant) -> Result<Tenant, Error> {
        let directory = self.home.create_tenant_directory()?;
        let made = tenant::create_file(&self.home, directory, new.id, &self.migrations)
            .and_then(|()| self.registry.insert(new, directory, self.clock.now()));
        if made.is_err() {
            // The entry is what makes a tenant: without it the directory is litter, and never held a row.
            self.home.remove_tenant_directory(directory);
        }
        made
    }

    /// Opens a tenant by its domain, finishing a re-keying that was cut short. One that can never be finished is given
    /// up: the tenant stays as it was, and enrolling again tells why.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant; [`Error::WrongTenant`] where the file says that it belongs
    /// to another one; [`Error::SchemaNewer`] and what the file system says.
    pub fn tenant(&self, domain: &Domain) -> Result<TenantStore, Error> {
        let entry = self.settled(domain)?;
        let path = self.home.tenant_file(entry.directory);
        let pool = self
            .pools
            .open(entry.tenant.id, &path, &self.migrations, &self.watch)?;
        Ok(TenantStore::new(
            entry.tenant,
            path,
            pool,
            self.timeouts,
            Arc::clone(&self.clock),
        ))
    }

    /// Opens a tenant for writing millions of rows: one connection, with a cache of 128 MiB.
    pub(crate) fn tenant_for_bulk(&self, domain: &Domain) -> Result<TenantStore, Error> {
        let entry = self.settled(domain)?;
        let (path, id) = (self.home.tenant_file(entry.directory), entry.tenant.id);
        let connection = tenant::open_checked(&path, id, Use::Bulk, &self.migrations)?;
        let clock = Arc::clone(&self.clock);
        Ok(TenantStore::single(entry.tenant, path, connection, clock).with_timeouts(self.timeouts))
    }

    /// Opens a tenant by its id.
    ///
    /// # Errors
    /// Those of [`Store::tenant`].
    pub fn tenant_by_id(&self, id: TenantId) -> Result<TenantStore, Error> {
        let domain = self.registry.find_by_id(id)?.tenant.domain;
        self.tenant(&domain)
    }

    /// The default tenant: the one that was made first, unless another was chosen.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn default_tenant(&self) -> Result<Option<Domain>, Error> {
        self.registry.default_tenant()
    }

    /// The file of a tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant.
    pub fn tenant_path(&self, domain: &Domain) -> Result<PathBuf, Error> {
        Ok(self.home.tenant_file(self.registry.find(domain)?.directory))
    }

    /// Takes the lock that lets one process at a time synchronise a tenant.
    ///
    /// # Errors
    /// [`Error::Busy`] where another process holds it.
    pub fn lock_sync(&self, domain: &Domain) -> Result<FileLock, Error> {
        self.lock_against_sync(domain, "synchronise the tenant")
    }

    /// Takes the same lock for what must not happen under a running synchronisation.
    fn lock_against_sync(&self, domain: &Domain, action: &'static str) -> Result<FileLock, Error> {
        let directory = self.registry.find(domain)?.directory;
        FileLock::try_take(&self.home.tenant_lock(directory, "sync"), action)?
            .announced_at(&self.home.tenant_lock(directory, "syncing"))
    }

    /// Whether a process synchronises the tenant now. Never in the way of one that begins to.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant.
    pub fn is_syncing(&self, domain: &Domain) -> Result<bool, Error> {
        let directory = self.registry.find(domain)?.directory;
        FileLock::is_announced(&self.home.tenant_lock(directory, "syncing"))
    }
}
