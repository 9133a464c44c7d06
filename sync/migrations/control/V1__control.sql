-- The list of tenants and what the administration knows of them. Run as the owner role; the schema `control` exists.
-- No device is granted anything here: USAGE on neither schema.

CREATE TABLE public.tenants (
    id                  uuid        NOT NULL PRIMARY KEY,
    name                text        NOT NULL,
    domain              text        NOT NULL,
    schema_name         text        NOT NULL,
    subscription_plan   text        NOT NULL DEFAULT 'basic',
    is_active           boolean     NOT NULL DEFAULT true,
    metadata            jsonb       NOT NULL DEFAULT '{}',
    admin_email         text,
    billing_email       text,
    data_region         text,
    compliance_settings jsonb       NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_domain_key        UNIQUE (domain),
    CONSTRAINT tenants_schema_name_key   UNIQUE (schema_name),
    CONSTRAINT tenants_name              CHECK (char_length(name) BETWEEN 1 AND 255),
    CONSTRAINT tenants_domain            CHECK (domain ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'),
    CONSTRAINT tenants_schema_name       CHECK (schema_name ~ '^t_[0-9a-f]{32}$'),
    CONSTRAINT tenants_subscription_plan CHECK (subscription_plan IN ('basic', 'professional', 'enterprise', 'custom')),
    CONSTRAINT tenants_metadata          CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT tenants_admin_email       CHECK (char_length(admin_email) <= 320),
    CONSTRAINT tenants_billing_email     CHECK (char_length(billing_email) <= 320),
    CONSTRAINT tenants_data_region       CHECK (char_length(data_region) <= 100),
    CONSTRAINT tenants_compliance        CHECK (jsonb_typeof(compliance_settings) = 'object')
);
ALTER TABLE public.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tenants FORCE ROW LEVEL SECURITY;
-- Forced security holds for the owner too: without a policy of its own its upkeep would silently touch nothing.
CREATE POLICY owner_rows ON public.tenants TO {{owner}} USING (true) WITH CHECK (true);

-- What each tenant's schema stands at, so that status and a migration with nothing to do are one query.
CREATE TABLE control.tenant_schemas (
    tenant_id     uuid        NOT NULL PRIMARY KEY REFERENCES public.tenants (id) ON DELETE CASCADE,
    version       integer     NOT NULL DEFAULT 0,
    -- Of the migrations' source before the tenant's id is put in: the same for every tenant at one version.
    checksum      text        NOT NULL DEFAULT '',
    migrated_at   timestamptz,
    last_error    text,
    last_error_at timestamptz
);

CREATE TABLE control.devices (
    id          uuid        NOT NULL PRIMARY KEY,
    tenant_id   uuid        NOT NULL REFERENCES public.tenants (id) ON DELETE CASCADE,
    enrolled_at timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
CREATE INDEX devices_tenant ON control.devices (tenant_id);

CREATE TABLE control.device_users (
    device_id uuid NOT NULL REFERENCES control.devices (id) ON DELETE CASCADE,
    user_id   uuid NOT NULL,
    PRIMARY KEY (device_id, user_id)
);
