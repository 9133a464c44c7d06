-- The registry: the list of tenants on this machine. Nothing is globbed; what is not here does not exist.
-- Times are microseconds since 1970-01-01T00:00:00Z. Ids are 16-byte UUIDs.

-- The file's header says what it is and how far its schema has come; both commit with what they tell of.
PRAGMA application_id = 0x4D505247;
PRAGMA user_version = 1;

CREATE TABLE tenants (
    id                  BLOB    NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL,
    domain              TEXT    NOT NULL,
    schema_name         TEXT    NOT NULL,
    subscription_plan   TEXT    NOT NULL DEFAULT 'basic',
    is_active           INTEGER NOT NULL DEFAULT 1,
    metadata            TEXT    NOT NULL DEFAULT '{}',
    admin_email         TEXT,
    billing_email       TEXT,
    data_region         TEXT,
    compliance_settings TEXT    NOT NULL DEFAULT '{}',
    -- The tenant's directory: a random UUID, so that no name of a tenant ever reaches a path.
    directory           BLOB    NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    CONSTRAINT tenants_domain_key      UNIQUE (domain),
    CONSTRAINT tenants_schema_name_key UNIQUE (schema_name),
    CONSTRAINT tenants_directory_key   UNIQUE (directory),
    CONSTRAINT tenants_id_length         CHECK (length(id) = 16),
    CONSTRAINT tenants_directory_length  CHECK (length(directory) = 16),
    CONSTRAINT tenants_subscription_plan CHECK (subscription_plan IN ('basic', 'professional', 'enterprise', 'custom')),
    CONSTRAINT tenants_is_active         CHECK (is_active IN (0, 1)),
    CONSTRAINT tenants_metadata          CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
    CONSTRAINT tenants_compliance        CHECK (json_valid(compliance_settings) AND json_type(compliance_settings) = 'object')
) STRICT;

-- A tenant on its way to the id that the central database knows it by (see docs/ARCHITECTURE.md, joining later).
-- The row is written before the tenant's file changes and removed after: opening the tenant finishes what a crash cut.
CREATE TABLE rekeyings (
    tenant_id   BLOB    NOT NULL PRIMARY KEY REFERENCES tenants (id) ON UPDATE CASCADE ON DELETE CASCADE,
    new_id      BLOB    NOT NULL,
    new_schema  TEXT    NOT NULL,
    users       TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    CONSTRAINT rekeyings_new_id_length CHECK (length(new_id) = 16),
    CONSTRAINT rekeyings_users         CHECK (json_valid(users) AND json_type(users) = 'array')
) STRICT;

-- What `enroll` was given, without its secret: that lies in a 0600 file of its own.
CREATE TABLE enrolments (
    tenant_id   BLOB    NOT NULL PRIMARY KEY REFERENCES tenants (id) ON UPDATE CASCADE ON DELETE CASCADE,
    device_id   BLOB    NOT NULL,
    schema_name TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    users       TEXT    NOT NULL,
    enrolled_at INTEGER NOT NULL,
    CONSTRAINT enrolments_device_id_length CHECK (length(device_id) = 16),
    CONSTRAINT enrolments_users            CHECK (json_valid(users) AND json_type(users) = 'array')
) STRICT;

-- This machine: its device id, the default tenant.
CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
