-- One tenant's file. Times are microseconds since 1970-01-01T00:00:00Z; ids are 16-byte UUIDs; JSON is checked text.
-- `rev` counts a row's versions, `digest` is the BLAKE3 of its payload (16 bytes; NULL until it is computed),
-- `deleted_at` marks a deletion that still has to travel.

-- The file's header says what it is and how far its schema has come; both commit with what they tell of.
PRAGMA application_id = 0x4D50544E;
PRAGMA user_version = 1;

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id            BLOB    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL,
    first_name    TEXT,
    last_name     TEXT,
    role          TEXT    NOT NULL DEFAULT 'developer',
    sso_provider  TEXT,
    sso_user_id   TEXT,
    last_login    INTEGER,
    login_count   INTEGER NOT NULL DEFAULT 0,
    timezone      TEXT    NOT NULL DEFAULT 'UTC',
    preferences   TEXT    NOT NULL DEFAULT '{}',
    is_active     INTEGER NOT NULL DEFAULT 1,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    deleted_at    INTEGER,
    rev           INTEGER NOT NULL DEFAULT 1,
    digest        BLOB,
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_sso_key   UNIQUE (sso_provider, sso_user_id),
    CONSTRAINT users_id_length   CHECK (length(id) = 16),
    CONSTRAINT users_role        CHECK (role IN ('admin', 'manager', 'developer', 'viewer')),
    CONSTRAINT users_login_count CHECK (login_count >= 0),
    CONSTRAINT users_is_active   CHECK (is_active IN (0, 1)),
    CONSTRAINT users_preferences CHECK (json_valid(preferences) AND json_type(preferences) = 'object'),
    CONSTRAINT users_rev         CHECK (rev >= 1)
) STRICT;

CREATE TABLE metrics_sessions (
    id                  BLOB    NOT NULL PRIMARY KEY,
    user_id             BLOB    NOT NULL REFERENCES users (id) ON UPDATE CASCADE,
    session_start       INTEGER NOT NULL,
    session_end         INTEGER,
    end_inferred        INTEGER NOT NULL DEFAULT 0,
    total_duration_ms   INTEGER,
    tools_used          TEXT    NOT NULL DEFAULT '[]',
    productivity_score  REAL,
    session_type        TEXT    NOT NULL,
    project_id          TEXT,
    tags                TEXT    NOT NULL DEFAULT '[]',
    interruptions_count INTEGER NOT NULL DEFAULT 0,
    focus_time_ms       INTEGER,
    description         TEXT,
    source              TEXT    NOT NULL,
    source_id           TEXT,
    created_at          INTEGER NOT NULL,
    deleted_at          INTEGER,
    rev                 INTEGER NOT NULL DEFAULT 1,
    digest              BLOB,
    CONSTRAINT metrics_sessions_id_length     CHECK (length(id) = 16),
    -- 253402300800000000 is 10000-01-01: times run from 1970 to 9999.
    CONSTRAINT metrics_sessions_start         CHECK (session_start >= 0 AND session_start < 253402300800000000),
    CONSTRAINT metrics_sessions_end           CHECK (session_end >= session_start AND session_end < 253402300800000000),
    CONSTRAINT metrics_sessions_end_inferred  CHECK (end_inferred IN (0, 1)),
    CONSTRAINT metrics_sessions_duration      CHECK (total_duration_ms >= 0),
    CONSTRAINT metrics_sessions_tools_used    CHECK (json_valid(tools_used) AND json_type(tools_used) = 'array'),
    CONSTRAINT metrics_sessions_score         CHECK (productivity_score BETWEEN 0 AND 100),
    CONSTRAINT metrics_sessions_tags          CHECK (json_valid(tags) AND json_type(tags) = 'array'),
    CONSTRAINT metrics_sessions_interruptions CHECK (interruptions_count >= 0),
    CONSTRAINT metrics_sessions_focus         CHECK (focus_time_ms >= 0),
    CONSTRAINT metrics_sessions_rev           CHECK (rev >= 1)
) STRICT;
CREATE INDEX metrics_sessions_user_start ON metrics_sessions (user_id, session_start);
CREATE INDEX metrics_sessions_start      ON metrics_sessions (session_start, id);

CREATE TABLE tool_metrics (
    id                  BLOB    NOT NULL PRIMARY KEY,
    session_id          BLOB    NOT NULL REFERENCES metrics_sessions (id) ON UPDATE CASCADE,
    user_id             BLOB    NOT NULL REFERENCES users (id) ON UPDATE CASCADE,
    -- The call that a subagent's call belongs to. No foreign key: a child may be seen before its parent.
    parent_id           BLOB,
    tool_name           TEXT    NOT NULL,
    tool_category       TEXT    NOT NULL,
    started_at          INTEGER NOT NULL,
    execution_count     INTEGER NOT NULL DEFAULT 1,
    total_duration_ms   INTEGER,
    average_duration_ms REAL,
    success_rate        REAL,
    error_count         INTEGER NOT NULL DEFAULT 0,
    outcome             TEXT    NOT NULL DEFAULT 'unknown',
    memory_usage_mb     REAL,
    cpu_time_ms         INTEGER,
    parameters          TEXT,
    output_size_bytes   INTEGER,
    program             TEXT,
    command_line        TEXT,
    working_directory   TEXT,
    source              TEXT    NOT NULL,
    source_id           TEXT,
    duration_source     TEXT    NOT NULL DEFAULT 'none',
    -- Where this row was read: stays on this machine, since it names local files.
    provenance          TEXT,
    created_at          INTEGER NOT NULL,
    deleted_at          INTEGER,
    rev                 INTEGER NOT NULL DEFAULT 1,
    digest              BLOB,
    CONSTRAINT tool_metrics_id_length       CHECK (length(id) = 16),
    CONSTRAINT tool_metrics_started         CHECK (started_at >= 0 AND started_at < 253402300800000000),
    CONSTRAINT tool_metrics_execution_count CHECK (execution_count >= 1),
    CONSTRAINT tool_metrics_duration        CHECK (total_duration_ms >= 0 AND average_duration_ms >= 0),
    CONSTRAINT tool_metrics_success_rate    CHECK (success_rate BETWEEN 0 AND 1),
    CONSTRAINT tool_metrics_error_count     CHECK (error_count BETWEEN 0 AND execution_count),
    CONSTRAINT tool_metrics_outcome         CHECK (outcome IN ('success', 'error', 'denied', 'interrupted', 'unknown')),
    CONSTRAINT tool_metrics_memory          CHECK (memory_usage_mb >= 0),
    CONSTRAINT tool_metrics_cpu             CHECK (cpu_time_ms >= 0),
    CONSTRAINT tool_metrics_parameters      CHECK (json_valid(parameters)),
    CONSTRAINT tool_metrics_output_size     CHECK (output_size_bytes >= 0),
    CONSTRAINT tool_metrics_duration_source CHECK (duration_source IN ('none', 'transcript', 'hook_pair', 'process', 'reported')),
    CONSTRAINT tool_metrics_provenance      CHECK (json_valid(provenance)),
    CONSTRAINT tool_metrics_rev             CHECK (rev >= 1)
) STRICT;
CREATE INDEX tool_metrics_session          ON tool_metrics (session_id, started_at);
CREATE INDEX tool_metrics_name_started     ON tool_metrics (tool_name, started_at);
CREATE INDEX tool_metrics_category_started ON tool_metrics (tool_category, started_at);

CREATE TABLE dashboard_configs (
    id                       BLOB    NOT NULL PRIMARY KEY,
    user_id                  BLOB    NOT NULL REFERENCES users (id) ON UPDATE CASCADE,
    dashboard_name           TEXT    NOT NULL,
    description              TEXT,
    widget_layout            TEXT    NOT NULL DEFAULT '{}',
    is_default               INTEGER NOT NULL DEFAULT 0,
    is_public                INTEGER NOT NULL DEFAULT 0,
    refresh_interval_seconds INTEGER NOT NULL DEFAULT 60,
    shared_with_roles        TEXT    NOT NULL DEFAULT '[]',
    version                  INTEGER NOT NULL DEFAULT 1,
    created_at               INTEGER NOT NULL,
    updated_at               INTEGER NOT NULL,
    deleted_at               INTEGER,
    rev                      INTEGER NOT NULL DEFAULT 1,
    digest                   BLOB,
    CONSTRAINT dashboard_configs_id_length  CHECK (length(id) = 16),
    CONSTRAINT dashboard_configs_layout     CHECK (json_valid(widget_layout) AND json_type(widget_layout) = 'object'),
    CONSTRAINT dashboard_configs_is_default CHECK (is_default IN (0, 1)),
    CONSTRAINT dashboard_configs_is_public  CHECK (is_public IN (0, 1)),
    CONSTRAINT dashboard_configs_refresh    CHECK (refresh_interval_seconds BETWEEN 5 AND 3600),
    CONSTRAINT dashboard_configs_shared     CHECK (json_valid(shared_with_roles) AND json_type(shared_with_roles) = 'array'),
    CONSTRAINT dashboard_configs_version    CHECK (version >= 1),
    CONSTRAINT dashboard_configs_rev        CHECK (rev >= 1)
) STRICT;
CREATE INDEX dashboard_configs_user ON dashboard_configs (user_id, dashboard_name);
CREATE UNIQUE INDEX dashboard_configs_one_default ON dashboard_configs (user_id)
    WHERE is_default = 1 AND deleted_at IS NULL;

-- Every change to a row that travels. `batch_no` is NULL while the change waits, the batch that carries it
-- afterwards, and 0 while its row lies in quarantine. There is no high-water mark: newest may go before oldest.
CREATE TABLE change_log (
    seq        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    table_name TEXT    NOT NULL,
    pk         BLOB    NOT NULL,
    rev        INTEGER NOT NULL,
    op         TEXT    NOT NULL,
    batch_no   INTEGER,
    -- To the second, from the writing process' own clock: says how old a waiting change is, decides nothing.
    changed_at INTEGER NOT NULL DEFAULT (unixepoch() * 1000000),
    CONSTRAINT change_log_op CHECK (op IN ('insert', 'update', 'delete'))
) STRICT;
CREATE INDEX change_log_batch ON change_log (batch_no, seq);
-- Finds the waiting change of a session or dashboard: they change often and are what other rows hang on. Calls are
-- many and change seldom, so they are left out, and sealing drops their superseded changes instead.
CREATE INDEX change_log_parent ON change_log (pk) WHERE table_name <> 'tool_metrics';

-- The journal of batches: each names the one before it, so that the server can say which it has. A batch is sealed,
-- then offered (from here on a server may have committed it), then acknowledged.
CREATE TABLE sync_batches (
    batch_no        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    batch_id        BLOB    NOT NULL,
    prev_batch_id   BLOB,
    stream_id       BLOB    NOT NULL,
    state           TEXT    NOT NULL DEFAULT 'sealed',
    row_count       INTEGER NOT NULL,
    sealed_at       INTEGER NOT NULL,
    acknowledged_at INTEGER,
    CONSTRAINT sync_batches_batch_id_key UNIQUE (batch_id),
    CONSTRAINT sync_batches_state CHECK (state IN ('sealed', 'offered', 'acknowledged'))
) STRICT;
-- At most one batch of a stream is under way: the chain has one end.
CREATE UNIQUE INDEX sync_batches_one_open ON sync_batches (stream_id) WHERE state <> 'acknowledged';

-- Rows that the server refused while a batch was offered: written before its COMMIT, valid only if it committed.
CREATE TABLE batch_rejects (
    batch_no   INTEGER NOT NULL REFERENCES sync_batches (batch_no) ON DELETE CASCADE,
    table_name TEXT    NOT NULL,
    pk         BLOB    NOT NULL,
    rev        INTEGER NOT NULL,
    sqlstate   TEXT    NOT NULL,
    message    TEXT    NOT NULL,
    PRIMARY KEY (batch_no, table_name, pk)
) STRICT, WITHOUT ROWID;

-- Rows that do not travel until something changes: the row itself (an edit releases it), an enrolment, a parent.
CREATE TABLE quarantine (
    table_name TEXT    NOT NULL,
    pk         BLOB    NOT NULL,
    rev        INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    sqlstate   TEXT,
    message    TEXT    NOT NULL,
    since      INTEGER NOT NULL,
    PRIMARY KEY (table_name, pk),
    CONSTRAINT quarantine_reason CHECK (reason IN ('rejected', 'user_not_enrolled', 'parent'))
) STRICT, WITHOUT ROWID;

-- Both versions of a row that two places changed to the same rev. Written before the COMMIT of the batch that met
-- it, valid only if that committed; the local version is then offered again above both revs.
CREATE TABLE conflicts (
    id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    batch_no      INTEGER NOT NULL,
    table_name    TEXT    NOT NULL,
    pk            BLOB    NOT NULL,
    rev           INTEGER NOT NULL,
    local_digest  BLOB,
    remote_digest BLOB,
    local_row     TEXT    NOT NULL,
    remote_row    TEXT    NOT NULL,
    detected_at   INTEGER NOT NULL,
    CONSTRAINT conflicts_local_row  CHECK (json_valid(local_row)),
    CONSTRAINT conflicts_remote_row CHECK (json_valid(remote_row))
) STRICT;
CREATE INDEX conflicts_batch ON conflicts (batch_no);

-- Capture. Triggers, so that any program's write is taken in its own transaction. An update that does not raise
-- `rev` itself (another program's) is raised here, and its digest is left to the sealing of the batch. A row
-- `capture_paused` in meta, written and removed inside one transaction, lets a re-keying and a pull pass unlogged.

CREATE TRIGGER metrics_sessions_inserted AFTER INSERT ON metrics_sessions BEGIN
    INSERT INTO change_log (table_name, pk, rev, op) VALUES ('metrics_sessions', NEW.id, NEW.rev, 'insert');
END;
CREATE TRIGGER metrics_sessions_updated AFTER UPDATE OF
        user_id, session_start, session_end, end_inferred, total_duration_ms, tools_used, productivity_score,
        session_type, project_id, tags, interruptions_count, focus_time_ms, description, source, source_id,
        deleted_at
    ON metrics_sessions WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'capture_paused')
BEGIN
    UPDATE metrics_sessions SET rev = OLD.rev + 1, digest = NULL WHERE id = NEW.id AND NEW.rev <= OLD.rev;
    DELETE FROM quarantine WHERE table_name = 'metrics_sessions' AND pk = NEW.id;
    DELETE FROM change_log WHERE pk = NEW.id AND table_name = 'metrics_sessions' AND batch_no IS NULL;
    INSERT INTO change_log (table_name, pk, rev, op)
    VALUES ('metrics_sessions', NEW.id, max(NEW.rev, OLD.rev + 1),
            CASE WHEN NEW.deleted_at IS NULL THEN 'update' ELSE 'delete' END);
END;

CREATE TRIGGER tool_metrics_inserted AFTER INSERT ON tool_metrics BEGIN
    INSERT INTO change_log (table_name, pk, rev, op) VALUES ('tool_metrics', NEW.id, NEW.rev, 'insert');
END;
CREATE TRIGGER tool_metrics_updated AFTER UPDATE OF
        session_id, user_id, parent_id, tool_name, tool_category, started_at, execution_count,
        total_duration_ms, average_duration_ms, success_rate, error_count, outcome, memory_usage_mb,
        cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, source,
        source_id, duration_source, deleted_at
    ON tool_metrics WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'capture_paused')
BEGIN
    UPDATE tool_metrics SET rev = OLD.rev + 1, digest = NULL WHERE id = NEW.id AND NEW.rev <= OLD.rev;
    DELETE FROM quarantine WHERE table_name = 'tool_metrics' AND pk = NEW.id;
    INSERT INTO change_log (table_name, pk, rev, op)
    VALUES ('tool_metrics', NEW.id, max(NEW.rev, OLD.rev + 1),
            CASE WHEN NEW.deleted_at IS NULL THEN 'update' ELSE 'delete' END);
END;

CREATE TRIGGER dashboard_configs_inserted AFTER INSERT ON dashboard_configs
    WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'capture_paused')
BEGIN
    INSERT INTO change_log (table_name, pk, rev, op) VALUES ('dashboard_configs', NEW.id, NEW.rev, 'insert');
END;
CREATE TRIGGER dashboard_configs_updated AFTER UPDATE OF
        user_id, dashboard_name, description, widget_layout, is_default, is_public, refresh_interval_seconds,
        shared_with_roles, version, deleted_at
    ON dashboard_configs WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'capture_paused')
BEGIN
    UPDATE dashboard_configs SET rev = OLD.rev + 1, digest = NULL WHERE id = NEW.id AND NEW.rev <= OLD.rev;
    DELETE FROM quarantine WHERE table_name = 'dashboard_configs' AND pk = NEW.id;
    DELETE FROM change_log WHERE pk = NEW.id AND table_name = 'dashboard_configs' AND batch_no IS NULL;
    INSERT INTO change_log (table_name, pk, rev, op)
    VALUES ('dashboard_configs', NEW.id, max(NEW.rev, OLD.rev + 1),
            CASE WHEN NEW.deleted_at IS NULL THEN 'update' ELSE 'delete' END);
END;
