-- One tenant's schema. Run as the owner role on a connection of its own whose search_path is this schema alone.
-- {{tenant_id}} is the tenant's id, {{owner}} the owner role, {{writer}} the role that the tenant's devices are
-- members of; {{device_id}} is the login's device id, or NULL where the session is no device's.
--
-- Locks, each of which holds alone: USAGE on this schema goes to one writer role; the tenant, the device and the
-- time of arrival are filled in by the server and granted to nobody; a CHECK and composite foreign keys tie a row to
-- its tenant and user; forced row-level security shows a device the rows of its own users. `pg_has_role` on
-- `to_regrole` is NULL, hence no, for a user whom nobody made. The device is read from `session_user`, which no
-- SET ROLE changes. Only columns are granted: LOCK TABLE, TRUNCATE and GRANT want a right on the table.
--
-- Rules of Citus' schema-based sharding: no serials, no subquery in a policy, no now() in ON CONFLICT, foreign keys
-- inside the schema.

GRANT USAGE ON SCHEMA {{schema}} TO {{writer}};

CREATE TABLE users (
    id           uuid        NOT NULL PRIMARY KEY,
    tenant_id    uuid        NOT NULL DEFAULT '{{tenant_id}}'::uuid,
    email        text        NOT NULL,
    first_name   text,
    last_name    text,
    role         text        NOT NULL DEFAULT 'developer',
    sso_provider text,
    sso_user_id  text,
    last_login   timestamptz,
    login_count  bigint      NOT NULL DEFAULT 0,
    timezone     text        NOT NULL DEFAULT 'UTC',
    preferences  jsonb       NOT NULL DEFAULT '{}',
    is_active    boolean     NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    deleted_at   timestamptz,
    rev          bigint      NOT NULL DEFAULT 1,
    digest       bytea,
    CONSTRAINT users_email_key    UNIQUE (email),
    CONSTRAINT users_sso_key      UNIQUE (sso_provider, sso_user_id),
    CONSTRAINT users_tenant_key   UNIQUE (tenant_id, id),
    CONSTRAINT users_tenant       CHECK (tenant_id = '{{tenant_id}}'::uuid),
    CONSTRAINT users_email        CHECK (char_length(email) BETWEEN 1 AND 320),
    CONSTRAINT users_first_name   CHECK (char_length(first_name) <= 100),
    CONSTRAINT users_last_name    CHECK (char_length(last_name) <= 100),
    CONSTRAINT users_role         CHECK (role IN ('admin', 'manager', 'developer', 'viewer')),
    CONSTRAINT users_sso_provider CHECK (char_length(sso_provider) <= 100),
    CONSTRAINT users_sso_user_id  CHECK (char_length(sso_user_id) <= 255),
    CONSTRAINT users_login_count  CHECK (login_count >= 0),
    CONSTRAINT users_timezone     CHECK (char_length(timezone) <= 64),
    CONSTRAINT users_preferences  CHECK (jsonb_typeof(preferences) = 'object'),
    CONSTRAINT users_rev          CHECK (rev >= 1),
    CONSTRAINT users_digest       CHECK (octet_length(digest) = 16)
);

CREATE TABLE metrics_sessions (
    id                  uuid             NOT NULL PRIMARY KEY,
    tenant_id           uuid             NOT NULL DEFAULT '{{tenant_id}}'::uuid,
    user_id             uuid             NOT NULL,
    session_start       timestamptz      NOT NULL,
    session_end         timestamptz,
    end_inferred        boolean          NOT NULL,
    total_duration_ms   bigint,
    tools_used          jsonb            NOT NULL,
    productivity_score  double precision,
    session_type        text             NOT NULL,
    project_id          text,
    tags                jsonb            NOT NULL,
    interruptions_count bigint           NOT NULL,
    focus_time_ms       bigint,
    description         text,
    source              text             NOT NULL,
    source_id           text,
    created_at          timestamptz      NOT NULL,
    deleted_at          timestamptz,
    rev                 bigint           NOT NULL,
    digest              bytea            NOT NULL,
    device_id           uuid             DEFAULT {{device_id}},
    received_at         timestamptz      NOT NULL DEFAULT now(),
    -- What a call points at. The id comes first: it alone tells rows apart, the others are the same for many.
    CONSTRAINT metrics_sessions_owner_key     UNIQUE (id, user_id, tenant_id),
    CONSTRAINT metrics_sessions_user          FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CONSTRAINT metrics_sessions_tenant        CHECK (tenant_id = '{{tenant_id}}'::uuid),
    CONSTRAINT metrics_sessions_start         CHECK (session_start >= '1970-01-01 00:00:00+00' AND session_start < '10000-01-01 00:00:00+00'),
    CONSTRAINT metrics_sessions_end           CHECK (session_end >= session_start AND session_end < '10000-01-01 00:00:00+00'),
    CONSTRAINT metrics_sessions_duration      CHECK (total_duration_ms >= 0),
    CONSTRAINT metrics_sessions_tools_used    CHECK (jsonb_typeof(tools_used) = 'array'),
    CONSTRAINT metrics_sessions_score         CHECK (productivity_score BETWEEN 0 AND 100),
    CONSTRAINT metrics_sessions_session_type  CHECK (char_length(session_type) <= 50),
    CONSTRAINT metrics_sessions_project_id    CHECK (char_length(project_id) <= 255),
    CONSTRAINT metrics_sessions_tags          CHECK (jsonb_typeof(tags) = 'array'),
    CONSTRAINT metrics_sessions_interruptions CHECK (interruptions_count >= 0),
    CONSTRAINT metrics_sessions_focus         CHECK (focus_time_ms >= 0),
    CONSTRAINT metrics_sessions_description   CHECK (char_length(description) <= 2000),
    CONSTRAINT metrics_sessions_source        CHECK (char_length(source) <= 40),
    CONSTRAINT metrics_sessions_source_id     CHECK (char_length(source_id) <= 200),
    CONSTRAINT metrics_sessions_created       CHECK (created_at >= '1970-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT metrics_sessions_deleted       CHECK (deleted_at >= '1970-01-01 00:00:00+00' AND deleted_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT metrics_sessions_rev           CHECK (rev >= 1),
    CONSTRAINT metrics_sessions_digest        CHECK (octet_length(digest) = 16)
);
-- Partial, so that it cannot serve the check that a call's session is there: planned while the table is empty, all
-- indexes cost the same, and with this one each call of a first push would read every session of its user.
CREATE INDEX metrics_sessions_user_start ON metrics_sessions (user_id, session_start) WHERE deleted_at IS NULL;

CREATE TABLE tool_metrics (
    id                  uuid             NOT NULL PRIMARY KEY,
    tenant_id           uuid             NOT NULL DEFAULT '{{tenant_id}}'::uuid,
    session_id          uuid             NOT NULL,
    user_id             uuid             NOT NULL,
    -- The call that a subagent's call belongs to. No foreign key: a child may arrive before its parent.
    parent_id           uuid,
    tool_name           text             NOT NULL,
    tool_category       text             NOT NULL,
    started_at          timestamptz      NOT NULL,
    execution_count     bigint           NOT NULL,
    total_duration_ms   bigint,
    average_duration_ms double precision,
    success_rate        double precision,
    error_count         bigint           NOT NULL,
    outcome             text             NOT NULL,
    memory_usage_mb     double precision,
    cpu_time_ms         bigint,
    parameters          jsonb,
    output_size_bytes   bigint,
    program             text,
    command_line        text,
    working_directory   text,
    source              text             NOT NULL,
    source_id           text,
    duration_source     text             NOT NULL,
    created_at          timestamptz      NOT NULL,
    deleted_at          timestamptz,
    rev                 bigint           NOT NULL,
    digest              bytea            NOT NULL,
    device_id           uuid             DEFAULT {{device_id}},
    received_at         timestamptz      NOT NULL DEFAULT now(),
    -- The session's user and tenant are the call's: nothing hangs on another's session.
    CONSTRAINT tool_metrics_session           FOREIGN KEY (session_id, user_id, tenant_id) REFERENCES metrics_sessions (id, user_id, tenant_id),
    CONSTRAINT tool_metrics_tenant            CHECK (tenant_id = '{{tenant_id}}'::uuid),
    CONSTRAINT tool_metrics_tool_name         CHECK (char_length(tool_name) <= 200),
    CONSTRAINT tool_metrics_tool_category     CHECK (char_length(tool_category) <= 50),
    CONSTRAINT tool_metrics_started           CHECK (started_at >= '1970-01-01 00:00:00+00' AND started_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT tool_metrics_execution_count   CHECK (execution_count >= 1),
    -- NaN and Infinity are greater than every number.
    CONSTRAINT tool_metrics_duration          CHECK (total_duration_ms >= 0 AND average_duration_ms >= 0 AND average_duration_ms < 'Infinity'),
    CONSTRAINT tool_metrics_success_rate      CHECK (success_rate BETWEEN 0 AND 1),
    CONSTRAINT tool_metrics_error_count       CHECK (error_count BETWEEN 0 AND execution_count),
    CONSTRAINT tool_metrics_outcome           CHECK (outcome IN ('success', 'error', 'denied', 'interrupted', 'unknown')),
    CONSTRAINT tool_metrics_memory            CHECK (memory_usage_mb >= 0 AND memory_usage_mb < 'Infinity'),
    CONSTRAINT tool_metrics_cpu               CHECK (cpu_time_ms >= 0),
    CONSTRAINT tool_metrics_output_size       CHECK (output_size_bytes >= 0),
    CONSTRAINT tool_metrics_program           CHECK (char_length(program) <= 200),
    CONSTRAINT tool_metrics_command_line      CHECK (char_length(command_line) <= 8192),
    CONSTRAINT tool_metrics_working_directory CHECK (char_length(working_directory) <= 4096),
    CONSTRAINT tool_metrics_source            CHECK (char_length(source) <= 40),
    CONSTRAINT tool_metrics_source_id         CHECK (char_length(source_id) <= 200),
    CONSTRAINT tool_metrics_duration_source   CHECK (duration_source IN ('none', 'transcript', 'hook_pair', 'process', 'reported')),
    CONSTRAINT tool_metrics_created           CHECK (created_at >= '1970-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT tool_metrics_deleted           CHECK (deleted_at >= '1970-01-01 00:00:00+00' AND deleted_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT tool_metrics_rev               CHECK (rev >= 1),
    CONSTRAINT tool_metrics_digest            CHECK (octet_length(digest) = 16)
);
-- As few as serve reports, since each one is paid for by every pushed row: a session's calls, and a span of time.
CREATE INDEX tool_metrics_session ON tool_metrics (session_id);
CREATE INDEX tool_metrics_started ON tool_metrics (started_at);

CREATE TABLE dashboard_configs (
    id                       uuid        NOT NULL PRIMARY KEY,
    tenant_id                uuid        NOT NULL DEFAULT '{{tenant_id}}'::uuid,
    user_id                  uuid        NOT NULL,
    dashboard_name           text        NOT NULL,
    description              text,
    widget_layout            jsonb       NOT NULL,
    is_default               boolean     NOT NULL,
    is_public                boolean     NOT NULL,
    refresh_interval_seconds bigint      NOT NULL,
    shared_with_roles        jsonb       NOT NULL,
    version                  bigint      NOT NULL,
    created_at               timestamptz NOT NULL,
    updated_at               timestamptz NOT NULL,
    deleted_at               timestamptz,
    rev                      bigint      NOT NULL,
    digest                   bytea       NOT NULL,
    device_id                uuid        DEFAULT {{device_id}},
    received_at              timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dashboard_configs_user        FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CONSTRAINT dashboard_configs_tenant      CHECK (tenant_id = '{{tenant_id}}'::uuid),
    CONSTRAINT dashboard_configs_name        CHECK (char_length(dashboard_name) <= 200),
    CONSTRAINT dashboard_configs_description CHECK (char_length(description) <= 2000),
    CONSTRAINT dashboard_configs_layout      CHECK (jsonb_typeof(widget_layout) = 'object'),
    CONSTRAINT dashboard_configs_refresh     CHECK (refresh_interval_seconds BETWEEN 5 AND 3600),
    CONSTRAINT dashboard_configs_shared      CHECK (jsonb_typeof(shared_with_roles) = 'array'),
    CONSTRAINT dashboard_configs_version     CHECK (version >= 1),
    CONSTRAINT dashboard_configs_created     CHECK (created_at >= '1970-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT dashboard_configs_updated     CHECK (updated_at >= '1970-01-01 00:00:00+00' AND updated_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT dashboard_configs_deleted     CHECK (deleted_at >= '1970-01-01 00:00:00+00' AND deleted_at < '10000-01-01 00:00:00+00'),
    CONSTRAINT dashboard_configs_rev         CHECK (rev >= 1),
    CONSTRAINT dashboard_configs_digest      CHECK (octet_length(digest) = 16)
);
CREATE INDEX dashboard_configs_user_name ON dashboard_configs (user_id, dashboard_name);
CREATE UNIQUE INDEX dashboard_configs_one_default ON dashboard_configs (user_id) WHERE is_default AND deleted_at IS NULL;

-- How far each stream has come: a batch is applied only where the stream stands at the one before it.
CREATE TABLE sync_streams (
    stream_id  uuid        NOT NULL PRIMARY KEY,
    tenant_id  uuid        NOT NULL DEFAULT '{{tenant_id}}'::uuid,
    device_id  uuid        NOT NULL DEFAULT {{device_id}},
    batch_id   uuid        NOT NULL,
    rows       bigint      NOT NULL,
    batches    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    moved_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sync_streams_tenant  CHECK (tenant_id = '{{tenant_id}}'::uuid),
    CONSTRAINT sync_streams_rows    CHECK (rows >= 0)
);
CREATE FUNCTION stamp_stream() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.batches := OLD.batches + 1;
    NEW.moved_at := now();
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION stamp_stream() FROM PUBLIC;
CREATE TRIGGER stamp_stream BEFORE UPDATE ON sync_streams FOR EACH ROW EXECUTE FUNCTION stamp_stream();

-- Rows that were refused while their batch was applied.
CREATE TABLE sync_rejects (
    batch_id    uuid        NOT NULL,
    table_name  text        NOT NULL,
    row_id      uuid        NOT NULL,
    rev         bigint      NOT NULL,
    sqlstate    text        NOT NULL,
    message     text        NOT NULL,
    tenant_id   uuid        NOT NULL DEFAULT '{{tenant_id}}'::uuid,
    device_id   uuid        NOT NULL DEFAULT {{device_id}},
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, table_name, row_id),
    CONSTRAINT sync_rejects_tenant     CHECK (tenant_id = '{{tenant_id}}'::uuid),
    CONSTRAINT sync_rejects_table_name CHECK (table_name IN ('metrics_sessions', 'tool_metrics', 'dashboard_configs')),
    CONSTRAINT sync_rejects_sqlstate   CHECK (char_length(sqlstate) = 5),
    CONSTRAINT sync_rejects_message    CHECK (char_length(message) <= 1000)
);

ALTER TABLE refinery_schema_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE refinery_schema_history FORCE ROW LEVEL SECURITY;
ALTER TABLE users             ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics_sessions  ENABLE ROW LEVEL SECURITY;
ALTER TABLE tool_metrics      ENABLE ROW LEVEL SECURITY;
ALTER TABLE dashboard_configs ENABLE ROW LEVEL SECURITY;
ALTER TABLE sync_streams      ENABLE ROW LEVEL SECURITY;
ALTER TABLE sync_rejects      ENABLE ROW LEVEL SECURITY;
ALTER TABLE users             FORCE ROW LEVEL SECURITY;
ALTER TABLE metrics_sessions  FORCE ROW LEVEL SECURITY;
ALTER TABLE tool_metrics      FORCE ROW LEVEL SECURITY;
ALTER TABLE dashboard_configs FORCE ROW LEVEL SECURITY;
ALTER TABLE sync_streams      FORCE ROW LEVEL SECURITY;
ALTER TABLE sync_rejects      FORCE ROW LEVEL SECURITY;

-- Forced security holds for the owner too: without policies of its own its upkeep would silently touch nothing.
CREATE POLICY owner_rows ON refinery_schema_history TO {{owner}} USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON users             TO {{owner}} USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON metrics_sessions  TO {{owner}} USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON tool_metrics      TO {{owner}} USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON dashboard_configs TO {{owner}} USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON sync_streams      TO {{owner}} USING (true) WITH CHECK (true);
CREATE POLICY owner_rows ON sync_rejects      TO {{owner}} USING (true) WITH CHECK (true);

-- One policy for all commands, so that the server checks the one expression once a row.
CREATE POLICY own_rows ON users TO {{writer}}
    USING (pg_has_role(to_regrole('us_' || replace(id::text, '-', '')), 'MEMBER'));
CREATE POLICY own_rows ON metrics_sessions TO {{writer}}
    USING (pg_has_role(to_regrole('us_' || replace(user_id::text, '-', '')), 'MEMBER'));
CREATE POLICY own_rows ON tool_metrics TO {{writer}}
    USING (pg_has_role(to_regrole('us_' || replace(user_id::text, '-', '')), 'MEMBER'));
CREATE POLICY own_rows ON dashboard_configs TO {{writer}}
    USING (pg_has_role(to_regrole('us_' || replace(user_id::text, '-', '')), 'MEMBER'));
CREATE POLICY own_rows ON sync_streams TO {{writer}} USING (device_id = {{device_id}});
CREATE POLICY own_rows ON sync_rejects TO {{writer}} USING (device_id = {{device_id}});

GRANT SELECT (id, email, first_name, last_name, role, timezone, is_active, created_at, updated_at, deleted_at, rev, digest)
    ON users TO {{writer}};

GRANT SELECT (id, user_id, session_start, session_end, end_inferred, total_duration_ms, tools_used,
              productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, description,
              source, source_id, created_at, deleted_at, rev, digest),
      INSERT (id, user_id, session_start, session_end, end_inferred, total_duration_ms, tools_used,
              productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, description,
              source, source_id, created_at, deleted_at, rev, digest),
      UPDATE (session_start, session_end, end_inferred, total_duration_ms, tools_used, productivity_score,
              session_type, project_id, tags, interruptions_count, focus_time_ms, description, source, source_id,
              deleted_at, rev, digest)
    ON metrics_sessions TO {{writer}};

GRANT SELECT (id, session_id, user_id, parent_id, tool_name, tool_category, started_at, execution_count,
              total_duration_ms, average_duration_ms, success_rate, error_count, outcome, memory_usage_mb,
              cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, source,
              source_id, duration_source, created_at, deleted_at, rev, digest),
      INSERT (id, session_id, user_id, parent_id, tool_name, tool_category, started_at, execution_count,
              total_duration_ms, average_duration_ms, success_rate, error_count, outcome, memory_usage_mb,
              cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, source,
              source_id, duration_source, created_at, deleted_at, rev, digest),
      UPDATE (session_id, parent_id, tool_name, tool_category, started_at, execution_count, total_duration_ms,
              average_duration_ms, success_rate, error_count, outcome, memory_usage_mb, cpu_time_ms, parameters,
              output_size_bytes, program, command_line, working_directory, source, source_id, duration_source,
              deleted_at, rev, digest)
    ON tool_metrics TO {{writer}};

GRANT SELECT (id, user_id, dashboard_name, description, widget_layout, is_default, is_public,
              refresh_interval_seconds, shared_with_roles, version, created_at, updated_at, deleted_at, rev, digest),
      INSERT (id, user_id, dashboard_name, description, widget_layout, is_default, is_public,
              refresh_interval_seconds, shared_with_roles, version, created_at, updated_at, deleted_at, rev, digest),
      UPDATE (dashboard_name, description, widget_layout, is_default, is_public, refresh_interval_seconds,
              shared_with_roles, version, updated_at, deleted_at, rev, digest)
    ON dashboard_configs TO {{writer}};

GRANT SELECT (stream_id, batch_id, rows, batches), INSERT (stream_id, batch_id, rows), UPDATE (batch_id, rows)
    ON sync_streams TO {{writer}};
GRANT SELECT (batch_id, table_name, row_id, rev, sqlstate, message),
      INSERT (batch_id, table_name, row_id, rev, sqlstate, message)
    ON sync_rejects TO {{writer}};
