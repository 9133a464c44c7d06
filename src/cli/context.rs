//! What commands share: the home, the store, and which tenant and user are meant.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use millpond::collect::spool::{self, BroughtIn, Spooled};
use millpond::config::Config;
use millpond::domain::tenant::Domain;
use millpond::domain::user::{Email, User};
use millpond::store::{Home, Store, TenantStore};

use super::failure::Failure;
use super::output::Output;

/// What a command is run with.
#[derive(Debug)]
pub(super) struct Context {
    home: Option<PathBuf>,
    no_input: bool,
    pub(super) output: Output,
}

impl Context {
    pub(super) const fn new(home: Option<PathBuf>, no_input: bool, output: Output) -> Self {
        Self {
            home,
            no_input,
            output,
        }
    }

    /// The home that `--home` or `MILLPOND_HOME` names.
    pub(super) fn given_home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The home: `--home`, else `MILLPOND_HOME`, else the platform's place.
    pub(super) fn home(&self) -> Result<Home, Failure> {
        match &self.home {
            Some(root) => Ok(Home::at(std::path::absolute(root)?)),
            None => Home::of_platform().ok_or_else(|| {
                Failure::configuration("this user has no home directory")
                    .with_hint("name a place with --home DIR or MILLPOND_HOME")
            }),
        }
    }

    /// Opens the store, and brings in what hooks could not write.
    pub(super) fn store(&self) -> Result<Store, Failure> {
        let store = Store::open(self.home()?)?;
        let tenant_of = |spooled: &Spooled| {
            let folder = spooled.event.folder.clone().unwrap_or_default();
            self.domain_at(&store, spooled.tenant.as_deref(), &folder)
                .ok()
        };
        match spool::bring_in(&store, tenant_of) {
            Ok(BroughtIn { set_aside: 0, .. }) => {}
            Ok(done) => self.output.message(&format!(
                "{} files of the spool are no events and were set aside as .bad",
                done.set_aside
            )),
            Err(error) => self
                .output
                .message(&format!("the spool cannot be read: {error}")),
        }
        Ok(store)
    }

    /// The tenant that is meant: the flag, else `MILLPOND_TENANT`, else the user's own table of paths, else the
    /// default tenant.
    pub(super) fn domain(&self, store: &Store, flag: Option<&str>) -> Result<Domain, Failure> {
        self.domain_at(store, flag, &std::env::current_dir().unwrap_or_default())
    }

    /// The tenant that is meant by work in `folder`.
    pub(super) fn domain_at(
        &self,
        store: &Store,
        flag: Option<&str>,
        folder: &Path,
    ) -> Result<Domain, Failure> {
        if let Some(named) = flag {
            return Ok(Domain::parse(named)?);
        }
        if let Some(named) = std::env::var_os("MILLPOND_TENANT").filter(|named| !named.is_empty()) {
            return Ok(Domain::parse(&named.to_string_lossy())?);
        }
        if let Some(path) = Config::path(self.home.as_deref())
            && let Some(domain) = Config::load(&path)?.tenant_of(folder)
        {
            return Ok(domain.clone());
        }
        store.default_tenant()?.ok_or_else(|| {
            Failure::usage("there is no tenant yet")
                .with_hint("make one with: millpond init --tenant DOMAIN --user EMAIL")
        })
    }

    pub(super) fn tenant(&self, store: &Store, flag: Option<&str>) -> Result<TenantStore, Failure> {
        Ok(store.tenant(&self.domain(store, flag)?)?)
    }

    /// Asks a question that is answered with yes or no; no where no one can be asked.
    pub(super) fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !self.can_ask() {
            return Ok(false);
        }
        let mut err = io::stderr().lock();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Whether there is someone to ask.
    pub(super) fn can_ask(&self) -> bool {
        !self.no_input
            && !self.output.is_json()
            && io::stdin().is_terminal()
            && io::stderr().is_terminal()
    }
}

/// The user that is meant: the flag, else the tenant's default user.
pub(super) fn user(tenant: &TenantStore, flag: Option<&str>) -> Result<User, Failure> {
    let email = flag.map(Email::parse).transpose()?;
    Ok(tenant.read(|r| match &email {
        Some(email) => r.users().find_by_email(email),
        None => r.users().default(),
    })?)
}
