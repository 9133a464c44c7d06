//! The store as a hook opens it: one tenant, one connection, one write, and as little before it as can be.
//!
//! Depends on the store. Invariants: whatever the shortcut says, the home is checked to be private and the tenant's file
//! to be that tenant's; a schema that is older is refused as busy and a newer one as newer; a registry that is locked is
//! waited for 250 ms, and where the shortcut holds it is not opened.

use std::sync::Arc;

use super::connection::{Access, Use};
use super::home::Home;
use super::migrations::Migrations;
use super::registry::Registry;
use super::shortcut::{Known, RegistryStanding, Shortcut};
use super::tenant::{self, TenantStore};
use super::{Error, Store};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::tenant::Domain;

/// A home, opened by a process that writes once and ends.
#[derive(Debug)]
pub struct HookStore {
    home: Home,
    migrations: Migrations,
    /// What is known without the registry, or what the registry has told so far.
    shortcut: Option<Shortcut>,
    /// The registry, where the shortcut did not do.
    store: Option<Store>,
}

impl HookStore {
    /// Opens an existing home. The registry is opened only where it changed since the last hook, or where this one asks
    /// for more than those before it.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(home: Home) -> Result<Self, Error> {
        Self::open_with(home, Migrations::embedded())
    }

    /// Opens an existing home as a program with these migrations does.
    ///
    /// # Errors
    /// Those of [`Store::open_with`].
    pub fn open_with(home: Home, migrations: Migrations) -> Result<Self, Error> {
        home.check()?;
        let standing = RegistryStanding::now(&home);
        let shortcut = standing.and_then(|standing| Shortcut::read(&home, standing));
        let mut opened = Self {
            home,
            migrations,
            shortcut,
            store: None,
        };
        if opened.shortcut.is_none() {
            opened.store()?;
            opened.shortcut = standing.map(Shortcut::of);
        }
        Ok(opened)
    }

    /// The default tenant, as [`Store::default_tenant`] tells it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn default_tenant(&mut self) -> Result<Option<Domain>, Error> {
        if let Some(known) = self.shortcut.as_ref().and_then(|kept| kept.default.clone()) {
            return Ok(Some(known));
        }
        let default = self.store()?.default_tenant()?;
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.default.clone_from(&default);
        }
        Ok(default)
    }

    /// Opens a tenant with one connection and no pool, leaving the write-ahead log to others.
    ///
    /// # Errors
    /// Those of [`Store::tenant`], and [`Error::Busy`] where the file has an older schema: any other opening brings it
    /// up.
    pub fn tenant(&mut self, domain: &Domain) -> Result<TenantStore, Error> {
        let kept = self.shortcut.as_ref().and_then(|kept| kept.find(domain));
        let known = if let Some(known) = kept.cloned() {
            known
        } else {
            let entry = self.store()?.settled(domain)?;
            let known = Known {
                tenant: entry.tenant,
                directory: entry.directory,
            };
            if let Some(shortcut) = &mut self.shortcut {
                shortcut.add(known.clone());
            }
            known
        };
        let opened = self.open_file(&known)?;
        if let (Some(shortcut), Some(_)) = (&self.shortcut, &self.store) {
            shortcut.keep(&self.home, SystemClock.now());
        }
        Ok(opened)
    }

    fn open_file(&self, known: &Known) -> Result<TenantStore, Error> {
        let path = self.home.tenant_file(known.directory);
        let connection = tenant::open_for_hook(&path, known.tenant.id, &self.migrations)?;
        Ok(TenantStore::single(
            known.tenant.clone(),
            path,
            connection,
            Arc::new(SystemClock),
        ))
    }

    fn store(&mut self) -> Result<&Store, Error> {
        let store = if let Some(open) = self.store.take() {
            open
        } else {
            let registry =
                Registry::open(&self.home, Access::Existing, Use::Hook, &self.migrations)?;
            Store::of(
                self.home.clone(),
                registry,
                Arc::new(SystemClock),
                self.migrations.clone(),
            )
        };
        Ok(self.store.insert(store))
    }
}
