//! `millpond config`: where the user's configuration is read from, and whether it can be.
//!
//! Reads that one file; opens no store and needs no home.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use millpond::config::Config;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print where the configuration is read from; the file need not be there
    Path,
    /// Read the configuration as commands do, and tell what is wrong with it (exit code 78)
    Validate,
}

#[derive(Debug, Serialize)]
struct PathView {
    path: PathBuf,
    exists: bool,
}

#[derive(Debug, Serialize)]
struct ValidView {
    path: PathBuf,
    exists: bool,
    /// How many paths the table of tenants has.
    tenants: usize,
}

pub(super) fn run(command: &ConfigCommand, context: &Context) -> Result<ExitCode, Failure> {
    let path = std::path::absolute(context.config_path()?)?;
    match command {
        ConfigCommand::Path => {
            let exists = path.exists();
            context.output.data(&PathView { path, exists }, |view| {
                view.path.display().to_string()
            })?;
        }
        ConfigCommand::Validate => {
            let config = Config::load(&path)?;
            let view = ValidView {
                exists: path.exists(),
                path,
                tenants: config.tenants().count(),
            };
            context.output.data(&view, valid)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn valid(view: &ValidView) -> String {
    let path = view.path.display();
    match (view.exists, view.tenants) {
        (false, _) => format!("{path} is not there: everything has its default"),
        (true, 1) => format!("{path} is valid: 1 path in the table of tenants"),
        (true, many) => format!("{path} is valid: {many} paths in the table of tenants"),
    }
}
