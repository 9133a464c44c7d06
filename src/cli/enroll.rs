//! `millpond enroll`: joins a central database.

use std::io::Read as _;
use std::process::ExitCode;

use clap::Args;
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::store::{Error, SessionFilter, SessionSort, Store};
use serde::Serialize;

use super::context::Context;
use super::document::{Checked, Document};
use super::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct EnrollArgs {
    /// The document that `central enroll` printed; - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The tenant's domain; the document's where none is given
    #[arg(long)]
    tenant: Option<String>,
}

#[derive(Debug, Serialize)]
struct Enrolled {
    domain: String,
    tenant_id: String,
    device_id: String,
    url: String,
    users: Vec<String>,
    pending: u64,
}

/// An enrolment document is about 1 KiB; a file that is larger is none.
const LONGEST_DOCUMENT: u64 = 1 << 20;

pub(super) fn run(args: &EnrollArgs, context: &Context) -> Result<ExitCode, Failure> {
    let document = Document::parse(&read(&args.file)?)?;
    if let Some(named) = &args.tenant {
        let named = Domain::parse(named)?;
        if named != document.domain {
            return Err(Failure::refused(
                "other_domain",
                format!("the document is for {}, not for {named}", document.domain),
            )
            .with_hint(
                "ask for a document of this tenant: millpond central enroll --tenant DOMAIN",
            ));
        }
    }
    let store = Store::init(context.home()?)?;
    if !agreed(&store, &document, context)? {
        return Err(Failure::refused("not_confirmed", "nothing was enrolled")
            .with_hint("answer y to enrol, or run it with --no-input"));
    }
    make_tenant(&store, &document)?;
    let Checked {
        domain,
        enrolment,
        url,
    } = &document;
    store.enrol(domain, enrolment, url.expose())?;
    let pending = store.tenant(domain)?.read(|r| r.outbox().status())?.pending;
    let enrolled = Enrolled {
        domain: domain.to_string(),
        tenant_id: enrolment.tenant_id.to_string(),
        device_id: enrolment.device_id.to_string(),
        url: enrolment.url.clone(),
        users: enrolment
            .users
            .iter()
            .map(|user| user.email.clone())
            .collect(),
        pending,
    };
    context.output.data(&enrolled, |done| {
        format!(
            "{} is enrolled with {} for {}\n{} rows wait: send them with millpond sync",
            done.domain,
            done.url,
            done.users.join(", "),
            done.pending
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &str) -> Result<String, Failure> {
    let mut raw = String::new();
    let read = if file == "-" {
        std::io::stdin()
            .lock()
            .take(LONGEST_DOCUMENT)
            .read_to_string(&mut raw)
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(LONGEST_DOCUMENT).read_to_string(&mut raw))
    };
    match read {
        Ok(_) => Ok(raw),
        Err(error) => Err(Failure::new("io", format!("cannot read {file}: {error}")).with_hint("name the file that holds what `millpond central enroll` printed, or - for standard input")),
    }
}

/// On a terminal, shows what would leave this machine and asks.
fn agreed(store: &Store, document: &Checked, context: &Context) -> Result<bool, Failure> {
    if !context.can_ask() {
        return Ok(true);
    }
    let tenant = match store.tenant(&document.domain) {
        Ok(tenant) => tenant,
        Err(Error::NotFound { .. }) => return Ok(true),
        Err(other) => return Err(other.into()),
    };
    let (pending, first, last) = tenant.read(|r| {
        let all = SessionFilter::default();
        let edge = |sort| {
            r.sessions()
                .list(&all, sort, 1, None)
                .map(|page| page.rows.into_iter().next())
        };
        let (first, last) = (edge(SessionSort::Oldest)?, edge(SessionSort::Newest)?);
        Ok::<_, Error>((r.outbox().status()?.pending, first, last))
    })?;
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(true);
    };
    context.output.message(&format!(
        "{pending} rows of {}, from {} to {}, would go to {}",
        document.domain, first.session_start, last.session_start, document.enrolment.url
    ));
    context.confirm("Enrol?")
}

fn make_tenant(store: &Store, document: &Checked) -> Result<(), Failure> {
    match store.find_tenant(&document.domain) {
        Ok(_) => Ok(()),
        Err(Error::NotFound { .. }) => {
            let new = NewTenant {
                id: document.enrolment.tenant_id,
                domain: document.domain.clone(),
                name: TenantName::parse(
                    "name",
                    document
                        .domain
                        .as_str()
                        .get(..100)
                        .unwrap_or(document.domain.as_str()),
                )?,
                plan: Plan::Basic,
                admin_email: None,
            };
            store.create_tenant(&new)?;
            Ok(())
        }
        Err(other) => Err(other.into()),
    }
}
