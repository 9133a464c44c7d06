//! `millpond user`: a tenant's users.

use std::process::ExitCode;

use clap::Subcommand;
use millpond::domain::ids::UserId;
use millpond::domain::user::{Email, NewUser, PersonName, Role, User, ZoneName};
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::table;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user to a tenant
    Add {
        /// The user's email address
        email: String,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
        /// admin, manager, developer or viewer
        #[arg(long, default_value = "developer")]
        role: String,
        /// The user's first name
        #[arg(long)]
        first_name: Option<String>,
        /// The user's last name
        #[arg(long)]
        last_name: Option<String>,
    },
    /// List a tenant's users
    List {
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Show one user
    Show {
        /// The user's email address
        email: String,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Change a user; what is not named stays
    Update {
        /// The user's email address
        email: String,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
        /// admin, manager, developer or viewer
        #[arg(long)]
        role: Option<String>,
        /// The user's first name
        #[arg(long)]
        first_name: Option<String>,
        /// The user's last name
        #[arg(long)]
        last_name: Option<String>,
        /// The time zone that the user's days are cut in, as Europe/Vienna
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
        /// Let the user work again, or no longer
        #[arg(long, value_name = "YES")]
        active: Option<bool>,
        /// Record work for this user unless another is named
        #[arg(long)]
        default: bool,
    },
    /// Let a user work no longer; its rows stay
    Deactivate {
        /// The user's email address
        email: String,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
    },
}

#[derive(Debug, Serialize)]
struct Users {
    users: Vec<User>,
}

pub(super) fn run(command: UserCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        UserCommand::Add {
            email,
            tenant,
            role,
            first_name,
            last_name,
        } => {
            let email = Email::parse(&email)?;
            let role = Role::parse(&role)?;
            let name =
                |raw: Option<String>| raw.map(|raw| PersonName::parse("name", &raw)).transpose();
            let (first_name, last_name) = (name(first_name)?, name(last_name)?);
            let store = context.store()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let id = UserId::derive(tenant.tenant().id, &email);
            let new = NewUser {
                id,
                email,
                first_name,
                last_name,
                role,
            };
            let user = tenant.write(|w| w.users().add(&new))?;
            context.output.data(&user, show)?;
        }
        UserCommand::List { tenant } => {
            let store = context.store()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let users = tenant.read(|r| r.users().list())?;
            context.output.data(&Users { users }, |all| {
                table(
                    ["email", "name", "role", "id"],
                    all.users.iter().map(|user| {
                        [
                            user.email.to_string(),
                            full_name(user),
                            user.role.as_str().to_owned(),
                            user.id.to_string(),
                        ]
                    }),
                )
            })?;
        }
        UserCommand::Show { email, tenant } => {
            let email = Email::parse(&email)?;
            let store = context.store()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let user = tenant.read(|r| r.users().find_by_email(&email))?;
            context.output.data(&user, show)?;
        }
        UserCommand::Update {
            email,
            tenant,
            role,
            first_name,
            last_name,
            timezone,
            active,
            default,
        } => {
            let name =
                |raw: Option<String>| raw.map(|raw| PersonName::parse("name", &raw)).transpose();
            let (first_name, last_name) = (name(first_name)?, name(last_name)?);
            let role = role.map(|raw| Role::parse(&raw)).transpose()?;
            let timezone = timezone
                .map(|raw| ZoneName::parse("time zone", &raw))
                .transpose()?;
            change(context, &email, tenant.as_deref(), default, |known| User {
                role: role.unwrap_or(known.role),
                first_name: first_name.or(known.first_name),
                last_name: last_name.or(known.last_name),
                timezone: timezone.unwrap_or(known.timezone),
                is_active: active.unwrap_or(known.is_active),
                ..known
            })?;
        }
        UserCommand::Deactivate { email, tenant } => {
            change(context, &email, tenant.as_deref(), false, |known| User {
                is_active: false,
                ..known
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes a user, makes it the one that work is recorded for where that is asked, and prints what came of it.
fn change(
    context: &Context,
    email: &str,
    tenant: Option<&str>,
    make_default: bool,
    change: impl FnOnce(User) -> User,
) -> Result<(), Failure> {
    let email = Email::parse(email)?;
    let store = context.store()?;
    let tenant = context.tenant(&store, tenant)?;
    let user = tenant.write(|w| {
        let known = w.users().find_by_email(&email)?;
        if make_default {
            w.users().set_default(&email)?;
        }
        w.users().update(&change(known))
    })?;
    context.output.data(&user, show)
}

fn full_name(user: &User) -> String {
    let names = [user.first_name.as_ref(), user.last_name.as_ref()];
    names
        .into_iter()
        .flatten()
        .map(PersonName::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn show(user: &User) -> String {
    format!(
        "{} {}\n  id    {}\n  role  {}{}",
        user.email,
        full_name(user),
        user.id,
        user.role.as_str(),
        if user.is_active { "" } else { ", inactive" },
    )
}
