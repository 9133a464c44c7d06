//! Names on the server: roles and schemas made from ids, and the quoting of identifiers and literals.
//!
//! Purpose: the one place that turns anything into SQL text; every other value is a parameter. Pure. Invariant:
//! names made from ids are 32 lower-case hexadecimal digits behind a fixed prefix, so that no text of a user
//! reaches a statement.

use uuid::Uuid;

/// The role that owns the schemas and tables.
pub(crate) const OWNER: &str = "millpond_owner";
/// The role that every device is a member of, by way of its tenant's writer role: it may connect.
pub(crate) const DEVICE: &str = "millpond_device";

/// The role that every tenant's program role is a member of: it sees its own row of the list of tenants.
pub(crate) const PROGRAM: &str = "millpond_program";
/// The role that reads the list of tenants, and nothing else.
pub(crate) const REGISTRY: &str = "millpond_registry";

/// The schema of a tenant.
#[must_use]
pub fn schema_name(tenant_id: Uuid) -> String {
    format!("t_{}", tenant_id.simple())
}

/// The role that a tenant's devices write as.
pub(crate) fn writer_role(tenant_id: Uuid) -> String {
    format!("tw_{}", tenant_id.simple())
}

/// The role that a program works as in a tenant: all of the tenant's rows, and nothing else.
pub(crate) fn program_role(tenant_id: Uuid) -> String {
    format!("tp_{}", tenant_id.simple())
}

/// The role that stands for a user: whoever is its member may see and write the user's rows.
pub(crate) fn user_role(user_id: Uuid) -> String {
    format!("us_{}", user_id.simple())
}

/// The login of a device.
#[must_use]
pub fn device_role(device_id: Uuid) -> String {
    format!("dv_{}", device_id.simple())
}

/// Quotes an identifier.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a literal, whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::{quote_ident, quote_literal, schema_name};
    use uuid::Uuid;

    #[test]
    fn a_quote_in_a_name_ends_nothing() {
        assert_eq!(quote_ident("plain"), "\"plain\"");
        assert_eq!(
            quote_ident("a\"; DROP SCHEMA x; --"),
            "\"a\"\"; DROP SCHEMA x; --\""
        );
    }

    #[test]
    fn a_quote_or_a_backslash_in_a_literal_ends_nothing() {
        assert_eq!(quote_literal("plain"), "'plain'");
        assert_eq!(quote_literal("a'b"), "'a''b'");
        assert_eq!(quote_literal("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn a_schema_name_tells_nothing_but_the_id() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef);
        assert_eq!(schema_name(id), "t_00000000000000000123456789abcdef");
    }
}
