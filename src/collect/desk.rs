//! What tests of collecting stand on: a tenant's real file, and transcripts with a known age.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::domain::ids::{CallId, TenantId, UserId};
use crate::domain::session::{Session, Source, SourceId};
use crate::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use crate::domain::tool_metric::ToolMetric;
use crate::domain::user::{Email, NewUser, Role};
use crate::store::{self, Home, Store, TenantStore};

/// A tenant with one user, in a home of its own, and a folder for transcripts.
pub(super) struct Desk {
    pub(super) folder: TempDir,
    pub(super) tenant: TenantStore,
    pub(super) user: UserId,
}

impl Desk {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(Home::at(folder.path().join("home"))).unwrap();
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
        let email = Email::parse("ada@acme.dev").unwrap();
        let user = UserId::derive(tenant.tenant().id, &email);
        let (first_name, last_name) = (None, None);
        let new = NewUser {
            id: user,
            email,
            first_name,
            last_name,
            role: Role::Developer,
        };
        tenant.write(|w| w.users().insert(&new)).unwrap();
        Self {
            folder,
            tenant,
            user,
        }
    }

    /// Writes a transcript that was last changed at some second.
    pub(super) fn transcript(&self, name: &str, second: u64, lines: &[String]) -> PathBuf {
        let path = self.folder.path().join("projects").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, lines.join("\n")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        path
    }

    /// Every row with what a change would change.
    pub(super) fn rows(&self) -> (Vec<Session>, Vec<ToolMetric>) {
        self.tenant
            .read(|r| {
                let filter = store::SessionFilter::default();
                let sort = store::SessionSort::Oldest;
                let sessions = r.sessions().list(&filter, sort, 1_000, None)?.rows;
                let mut calls = Vec::new();
                for session in &sessions {
                    calls.extend(r.tool_metrics().of_session(session.id)?);
                }
                Ok::<_, store::Error>((sessions, calls))
            })
            .unwrap()
    }

    pub(super) fn call(&self, own_id: &str) -> ToolMetric {
        let source = Source::parse("source", "claude").unwrap();
        let own_id = SourceId::parse("id", own_id).unwrap();
        let id = CallId::derive(self.user, &source, Some(&own_id));
        self.tenant
            .read(|r| r.tool_metrics().find(id))
            .unwrap()
            .unwrap()
    }
}

/// Real transcripts, where they are at hand: `MILLPOND_SAMPLES`, or `shared/samples` beside the repository.
pub(super) fn samples() -> Option<PathBuf> {
    let folder = match std::env::var_os("MILLPOND_SAMPLES") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/samples"),
    };
    if folder.join("EXPECTED.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no samples");
    None
}
