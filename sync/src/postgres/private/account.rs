//! Chooses the account that a private server runs under.
//!
//! Purpose: PostgreSQL refuses to run as root, so root hands the server to `postgres`, else to `nobody`. Depends on
//! /etc/passwd. Invariant: the ids returned are never 0.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::PrivateServerError;

/// A user id and its primary group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// The user id.
    pub(crate) uid: u32,
    /// The group id.
    pub(crate) gid: u32,
}

/// The account to change to, or `None` where this process is not root.
///
/// Whether it is root is read off a folder that it has just made: its owner is who we are.
///
/// # Errors
/// [`PrivateServerError::NoAccount`] where root finds neither account, and input/output errors.
pub(crate) fn for_owner_of(fresh_folder: &Path) -> Result<Option<Account>, PrivateServerError> {
    let metadata = fs::metadata(fresh_folder).map_err(|source| PrivateServerError::Io {
        action: "read the server's folder",
        source,
    })?;
    if metadata.uid() != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(|source| PrivateServerError::Io {
        action: "read /etc/passwd",
        source,
    })?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| lookup(&passwd, name))
        .map(Some)
        .ok_or(PrivateServerError::NoAccount)
}

fn lookup(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0 && gid != 0).then_some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::{Account, lookup};

    #[test]
    fn an_account_is_found_by_its_whole_name_and_never_root() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:7::/:/bin/sh\npostgres:x:104:112::/:/bin/sh\n";
        assert_eq!(
            lookup(passwd, "postgres"),
            Some(Account { uid: 104, gid: 112 })
        );
        assert_eq!(lookup(passwd, "root"), None);
        assert_eq!(lookup(passwd, "nobody"), None);
    }
}
