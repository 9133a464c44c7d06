-- What a program needs that works on all of a tenant's rows (millpond::legacy), as the role {{program}}: every row of
-- the four tables and no other table; no column that says where a row came from; no DELETE, since a deletion is
-- `deleted_at`, which travels. As in V1 no right but SELECT is on a whole table: TRUNCATE and GRANT want one.

GRANT USAGE ON SCHEMA {{schema}} TO {{program}};
GRANT SELECT ON users, metrics_sessions, tool_metrics, dashboard_configs TO {{program}};

GRANT INSERT (id, email, first_name, last_name, role, sso_provider, sso_user_id, last_login, login_count, timezone,
              preferences, is_active, created_at, updated_at, deleted_at, rev, digest),
      UPDATE (email, first_name, last_name, role, sso_provider, sso_user_id, last_login, login_count, timezone,
              preferences, is_active, created_at, updated_at, deleted_at, rev, digest)
    ON users TO {{program}};
GRANT INSERT (id, user_id, session_start, session_end, end_inferred, total_duration_ms, tools_used,
              productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, description,
              source, source_id, created_at, deleted_at, rev, digest),
      UPDATE (user_id, session_start, session_end, end_inferred, total_duration_ms, tools_used, productivity_score,
              session_type, project_id, tags, interruptions_count, focus_time_ms, description, source, source_id,
              created_at, deleted_at, rev, digest)
    ON metrics_sessions TO {{program}};
GRANT INSERT (id, session_id, user_id, parent_id, tool_name, tool_category, started_at, execution_count,
              total_duration_ms, average_duration_ms, success_rate, error_count, outcome, memory_usage_mb,
              cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, source, source_id,
              duration_source, created_at, deleted_at, rev, digest),
      UPDATE (session_id, user_id, parent_id, tool_name, tool_category, started_at, execution_count,
              total_duration_ms, average_duration_ms, success_rate, error_count, outcome, memory_usage_mb,
              cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, source, source_id,
              duration_source, created_at, deleted_at, rev, digest)
    ON tool_metrics TO {{program}};
GRANT INSERT (id, user_id, dashboard_name, description, widget_layout, is_default, is_public,
              refresh_interval_seconds, shared_with_roles, version, created_at, updated_at, deleted_at, rev, digest),
      UPDATE (user_id, dashboard_name, description, widget_layout, is_default, is_public, refresh_interval_seconds,
              shared_with_roles, version, created_at, updated_at, deleted_at, rev, digest)
    ON dashboard_configs TO {{program}};

CREATE POLICY program_rows ON users TO {{program}} USING (true) WITH CHECK (true);
CREATE POLICY program_rows ON metrics_sessions TO {{program}} USING (true) WITH CHECK (true);
CREATE POLICY program_rows ON tool_metrics TO {{program}} USING (true) WITH CHECK (true);
CREATE POLICY program_rows ON dashboard_configs TO {{program}} USING (true) WITH CHECK (true);

-- The defaults of a tenant's SQLite file, so that one INSERT serves both sides. A device names every column. The digest
-- tells versions of a row apart: a program's row has one that no other row has.
ALTER TABLE metrics_sessions
    ALTER end_inferred SET DEFAULT false,
    ALTER tools_used SET DEFAULT '[]',
    ALTER tags SET DEFAULT '[]',
    ALTER interruptions_count SET DEFAULT 0,
    ALTER rev SET DEFAULT 1,
    ALTER digest SET DEFAULT uuid_send(gen_random_uuid());
ALTER TABLE tool_metrics
    ALTER execution_count SET DEFAULT 1,
    ALTER error_count SET DEFAULT 0,
    ALTER outcome SET DEFAULT 'unknown',
    ALTER duration_source SET DEFAULT 'none',
    ALTER rev SET DEFAULT 1,
    ALTER digest SET DEFAULT uuid_send(gen_random_uuid());
ALTER TABLE dashboard_configs
    ALTER widget_layout SET DEFAULT '{}',
    ALTER is_default SET DEFAULT false,
    ALTER is_public SET DEFAULT false,
    ALTER refresh_interval_seconds SET DEFAULT 60,
    ALTER shared_with_roles SET DEFAULT '[]',
    ALTER version SET DEFAULT 1,
    ALTER rev SET DEFAULT 1,
    ALTER digest SET DEFAULT uuid_send(gen_random_uuid());
