//! What commands share: the home, the store, and which tenant and user are meant.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use millpond::collect::spool::{self, BroughtIn};
use millpond::config::Config;
use millpond::config::timing::Timing;
use millpond::domain::tenant::Domain;
use millpond::domain::user::{Email, User};
use millpond::store::{Home, Store, TenantStore, Timeouts};

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
            None => Home::of_platform().ok_or_else(no_home_directory),
        }
    }

    /// The configuration file that is read.
    pub(super) fn config_path(&self) -> Result<PathBuf, Failure> {
        Config::path(self.home.as_deref()).ok_or_else(no_home_directory)
    }

    /// Opens the store, and brings in what hooks could not write.
    pub(super) fn store(&self) -> Result<Store, Failure> {
        let timing = Timing::read(|name| std::env::var_os(name))?;
        let store = Store::open(self.home()?)?.with_timeouts(Timeouts {
            run: timing.run,
            ..Timeouts::default()
        });
        store.watch().set_slow_threshold(timing.slow_query);
        match spool::bring_in(&store) {
            Ok(done) => self.tell_of_spool(&done),
            Err(error) => self
                .output
                .message(&format!("the spool cannot be read: {error}")),
        }
        Ok(store)
    }

    fn tell_of_spool(&self, done: &BroughtIn) {
        if done.set_aside > 0 {
            self.output.message(&format!(
                "{} files of the spool are no events and were set aside as .bad",
                done.set_aside
            ));
        }
        if done.waiting > 0 {
            let reason = done
                .reason
                .as_deref()
                .unwrap_or("the next command goes on with them");
            let (count, wait) = match done.waiting {
                1 => ("1 event".to_owned(), "waits"),
                many => (format!("{many} events"), "wait"),
            };
            self.output
                .message(&format!("{count} {wait} in the spool: {reason}"));
        }
    }

    /// The tenant that is meant: the flag, else `MILLPOND_TENANT`, else the user's own table of paths, else the
    /// default tenant.
    pub(super) fn domain(&self, store: &Store, flag: Option<&str>) -> Result<Domain, Failure> {
        let here = std::env::current_dir().unwrap_or_default();
        match self.named_at(flag, &here)? {
            Some(named) => Ok(named),
            None => default_domain(store),
        }
    }

    /// The tenant that work in `folder` names, by the flag, the variable or the table of paths; `None` where none of
    /// them does and the default tenant is meant. Opens no store.
    pub(super) fn named_at(
        &self,
        flag: Option<&str>,
        folder: &Path,
    ) -> Result<Option<Domain>, Failure> {
        if let Some(named) = flag {
            return Ok(Some(Domain::parse(named)?));
        }
        if let Some(named) = std::env::var_os("MILLPOND_TENANT").filter(|named| !named.is_empty()) {
            return Ok(Some(Domain::parse(&named.to_string_lossy())?));
        }
        let Some(path) = Config::path(self.home.as_deref()) else {
            return Ok(None);
        };
        Ok(Config::load(&path)?.tenant_of(folder).cloned())
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

fn no_home_directory() -> Failure {
    Failure::configuration("this user has no home directory")
        .with_hint("name a place with --home DIR or MILLPOND_HOME")
}

/// The tenant that is meant where nothing names one.
pub(super) fn default_domain(store: &Store) -> Result<Domain, Failure> {
    or_none_yet(store.default_tenant()?)
}

/// The default tenant, if there is one.
pub(super) fn or_none_yet(default: Option<Domain>) -> Result<Domain, Failure> {
    default.ok_or_else(|| {
        Failure::usage("there is no tenant yet")
            .with_hint("make one with: millpond init --tenant DOMAIN --user EMAIL")
    })
}

/// The user that is meant: the flag, else the tenant's default user.
pub(super) fn user(tenant: &TenantStore, flag: Option<&str>) -> Result<User, Failure> {
    let email = flag.map(Email::parse).transpose()?;
    Ok(tenant.read(|r| match &email {
        Some(email) => r.users().find_by_email(email),
        None => r.users().default(),
    })?)
}
