-- Where a changed row lies in its table, so that a batch is read in the order of the file and not id by id. A hint:
-- VACUUM and REPLACE may move a row, so whoever reads by it compares the id and falls back to it.

PRAGMA user_version = 5;

ALTER TABLE change_log ADD COLUMN row_id INTEGER;

DROP TRIGGER metrics_sessions_inserted;
CREATE TRIGGER metrics_sessions_inserted AFTER INSERT ON metrics_sessions BEGIN
    INSERT INTO change_log (table_name, pk, rev, op, row_id)
    VALUES ('metrics_sessions', NEW.id, NEW.rev, 'insert', NEW.rowid);
END;
DROP TRIGGER metrics_sessions_updated;
CREATE TRIGGER metrics_sessions_updated AFTER UPDATE OF
        user_id, session_start, session_end, end_inferred, total_duration_ms, tools_used, productivity_score,
        session_type, project_id, tags, interruptions_count, focus_time_ms, description, source, source_id,
        deleted_at
    ON metrics_sessions WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'capture_paused')
BEGIN
    UPDATE metrics_sessions SET rev = OLD.rev + 1, digest = NULL WHERE id = NEW.id AND NEW.rev <= OLD.rev;
    DELETE FROM quarantine WHERE table_name = 'metrics_sessions' AND pk = NEW.id;
    DELETE FROM change_log WHERE pk = NEW.id AND table_name = 'metrics_sessions' AND batch_no IS NULL;
    INSERT INTO change_log (table_name, pk, rev, op, row_id)
    VALUES ('metrics_sessions', NEW.id, max(NEW.rev, OLD.rev + 1),
            CASE WHEN NEW.deleted_at IS NULL THEN 'update' ELSE 'delete' END, NEW.rowid);
END;

DROP TRIGGER tool_metrics_inserted;
CREATE TRIGGER tool_metrics_inserted AFTER INSERT ON tool_metrics BEGIN
    INSERT INTO change_log (table_name, pk, rev, op, row_id)
    VALUES ('tool_metrics', NEW.id, NEW.rev, 'insert', NEW.rowid);
END;
DROP TRIGGER tool_metrics_updated;
CREATE TRIGGER tool_metrics_updated AFTER UPDATE OF
        session_id, user_id, parent_id, tool_name, tool_category, started_at, execution_count,
        total_duration_ms, average_duration_ms, success_rate, error_count, outcome, memory_usage_mb,
        cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, source,
        source_id, duration_source, deleted_at
    ON tool_metrics WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'capture_paused')
BEGIN
    UPDATE tool_metrics SET rev = OLD.rev + 1, digest = NULL WHERE id = NEW.id AND NEW.rev <= OLD.rev;
    DELETE FROM quarantine WHERE table_name = 'tool_metrics' AND pk = NEW.id;
    INSERT INTO change_log (table_name, pk, rev, op, row_id)
    VALUES ('tool_metrics', NEW.id, max(NEW.rev, OLD.rev + 1),
            CASE WHEN NEW.deleted_at IS NULL THEN 'update' ELSE 'delete' END, NEW.rowid);
END;

-- The next batch is sealed while the one before it is under way: not one open batch, but one chain.
DROP INDEX sync_batches_one_open;
CREATE UNIQUE INDEX sync_batches_first ON sync_batches (stream_id) WHERE prev_batch_id IS NULL;
CREATE UNIQUE INDEX sync_batches_next ON sync_batches (stream_id, prev_batch_id);
