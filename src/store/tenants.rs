//! The tenants of this machine: find, list, change, activate and deactivate.
//!
//! Invariants: a tenant's id and domain never change here; an inactive tenant takes no new rows through a handle that
//! was opened afterwards, and keeps those that it has: deactivating is what a tenant has for deleting and restoring.

use rusqlite::{params, params_from_iter};

use super::error::{self, Error};
use super::filter::{self, Conditions, SearchText};
use super::page::{self, Direction, NumberedPage, PageRequest};
use super::registry::{self, COLUMNS};
use super::{Sighting, Store};
use crate::domain::tenant::{DataRegion, Domain, NewTenant, Plan, Tenant, TenantChange};
use crate::domain::user::Email;
use crate::store::columns::json;

const TABLE: &str = "tenants";

/// Which tenants are meant: those for which all of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantFilter {
    /// Of one plan only.
    pub plan: Option<Plan>,
    /// Only active, or only inactive ones.
    pub active: Option<bool>,
    /// With this text, in letters of any case (ASCII), in name or domain.
    pub text: Option<SearchText>,
}

/// What pages of tenants are ordered by; the domain breaks ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TenantOrder {
    /// The domain.
    #[default]
    Domain,
    /// The name.
    Name,
    /// When it was made here.
    Created,
}

impl TenantFilter {
    fn conditions(&self) -> Conditions {
        let mut all = Conditions::fixed("1");
        all.and(
            "subscription_plan = {}",
            self.plan.map(|plan| plan.as_str().to_owned()),
        );
        all.and("is_active = {}", self.active);
        all.and(
            "(name LIKE {} ESCAPE '\\' OR domain LIKE {} ESCAPE '\\')",
            self.text.as_ref().map(filter::containing),
        );
        all
    }
}

impl Store {
    /// The tenants that match, by domain.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn tenants_matching(&self, filter: &TenantFilter) -> Result<Vec<Tenant>, Error> {
        let conditions = filter.conditions();
        let sql = format!(
            "SELECT {COLUMNS} FROM tenants WHERE {} ORDER BY domain",
            conditions.sql()
        );
        self.registry
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(conditions.values()), |row| {
                        registry::from_row(row).map(|entry| entry.tenant)
                    })?
                    .collect()
            })
            .map_err(error::query("list tenants"))
    }

    /// A numbered page of the tenants that match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn tenants_page(
        &self,
        filter: &TenantFilter,
        (order, direction): (TenantOrder, Direction),
        request: PageRequest,
    ) -> Result<NumberedPage<Tenant>, Error> {
        let column = match order {
            TenantOrder::Domain => "domain",
            TenantOrder::Name => "name",
            TenantOrder::Created => "created_at",
        };
        let way = direction.sql();
        page::numbered(
            &self.registry.connection(),
            (TABLE, COLUMNS, &format!("{column} {way}, domain {way}")),
            &filter.conditions(),
            request,
            "list tenants",
            |row| registry::from_row(row).map(|entry| entry.tenant),
        )
    }

    /// How many tenants match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_tenants(&self, filter: &TenantFilter) -> Result<u64, Error> {
        let conditions = filter.conditions();
        page::count(
            &self.registry.connection(),
            TABLE,
            &conditions,
            "count tenants",
        )
    }

    /// Changes what is said of a tenant; the tenant as it is afterwards.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant.
    pub fn update_tenant(&self, domain: &Domain, change: &TenantChange) -> Result<Tenant, Error> {
        const ACTION: &str = "change a tenant";
        let known = self.find_tenant(domain)?;
        let address = |new: &Option<Option<Email>>, old: Option<String>| match new {
            Some(new) => new.as_ref().map(Email::to_string),
            None => old,
        };
        let region = match &change.data_region {
            Some(new) => new.clone(),
            None => known.data_region,
        };
        let metadata = change.metadata.clone().unwrap_or(known.metadata);
        let compliance = (change.compliance_settings.clone()).unwrap_or(known.compliance_settings);
        self.registry
            .connection()
            .execute(
                "UPDATE tenants
                 SET name = ?2, subscription_plan = ?3, admin_email = ?4, billing_email = ?5,
                     data_region = ?6, metadata = ?7, compliance_settings = ?8, updated_at = ?9
                 WHERE domain = ?1",
                params![
                    domain.as_str(),
                    change.name.as_ref().unwrap_or(&known.name).as_str(),
                    change.plan.unwrap_or(known.subscription_plan).as_str(),
                    address(&change.admin_email, known.admin_email),
                    address(&change.billing_email, known.billing_email),
                    region.as_ref().map(DataRegion::as_str),
                    json(&metadata).map_err(error::query(ACTION))?,
                    json(&compliance).map_err(error::query(ACTION))?,
                    self.clock.now().as_micros(),
                ],
            )
            .map_err(error::query(ACTION))?;
        self.find_tenant(domain)
    }

    /// Makes the tenant, or gives the one of this domain the name, plan and address.
    ///
    /// # Errors
    /// Those of [`Store::create_tenant`].
    pub fn upsert_tenant(&self, new: &NewTenant) -> Result<(Tenant, Sighting), Error> {
        match self.find_tenant(&new.domain) {
            Err(Error::NotFound { .. }) => Ok((self.create_tenant(new)?, Sighting::Inserted)),
            Err(other) => Err(other),
            Ok(known) => {
                let same = known.name == new.name
                    && known.subscription_plan == new.plan
                    && known.admin_email.as_deref() == new.admin_email.as_ref().map(Email::as_str);
                if same {
                    return Ok((known, Sighting::Unchanged));
                }
                let change = TenantChange {
                    name: Some(new.name.clone()),
                    plan: Some(new.plan),
                    admin_email: Some(new.admin_email.clone()),
                    ..TenantChange::default()
                };
                Ok((self.update_tenant(&new.domain, &change)?, Sighting::Raised))
            }
        }
    }

    /// Lets a tenant take rows, or no longer: handles that were opened before keep what they were opened with. What
    /// an inactive tenant holds can be read, and still reaches the central database.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant.
    pub fn set_tenant_active(&self, domain: &Domain, is_active: bool) -> Result<Tenant, Error> {
        self.registry
            .connection()
            .execute(
                "UPDATE tenants SET is_active = ?2, updated_at = ?3 WHERE domain = ?1",
                params![domain.as_str(), is_active, self.clock.now().as_micros()],
            )
            .map_err(error::query("activate or deactivate a tenant"))?;
        self.find_tenant(domain)
    }
}
