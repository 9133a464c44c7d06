-- Figures by hour, so that those of a month cost what its hours are and not what its calls are. Triggers keep them in
-- the transaction of the write that they tell of, whichever program's it is, and count what is not deleted. They stay
-- on this machine. A program that writes INSERT OR REPLACE has to turn on `recursive_triggers`: without it SQLite tells
-- no trigger of the row that it replaces.

PRAGMA user_version = 4;

CREATE TABLE tool_hours (
    -- Hours since 1970-01-01T00:00:00Z, by the start of the call.
    hour              INTEGER NOT NULL,
    tool_name         TEXT    NOT NULL,
    tool_category     TEXT    NOT NULL,
    user_id           BLOB    NOT NULL,
    -- Rows, and what they say.
    held              INTEGER NOT NULL,
    calls             INTEGER NOT NULL,
    errors            INTEGER NOT NULL,
    unknown           INTEGER NOT NULL,
    timed             INTEGER NOT NULL,
    total_duration_ms INTEGER NOT NULL,
    first_start       INTEGER NOT NULL,
    last_start        INTEGER NOT NULL,
    PRIMARY KEY (tool_name, tool_category, user_id, hour)
) STRICT, WITHOUT ROWID;

INSERT INTO tool_hours (hour, tool_name, tool_category, user_id, held, calls, errors, unknown, timed,
    total_duration_ms, first_start, last_start)
SELECT started_at / 3600000000, tool_name, tool_category, user_id, count(*), sum(execution_count), sum(error_count),
    sum(outcome = 'unknown'), count(total_duration_ms), coalesce(sum(total_duration_ms), 0), min(started_at),
    max(started_at)
FROM tool_metrics WHERE deleted_at IS NULL GROUP BY 1, 2, 3, 4;

-- Counting.

CREATE TRIGGER tool_metrics_counted AFTER INSERT ON tool_metrics WHEN NEW.deleted_at IS NULL BEGIN
    INSERT INTO tool_hours (hour, tool_name, tool_category, user_id, held, calls, errors, unknown, timed,
        total_duration_ms, first_start, last_start)
    VALUES (NEW.started_at / 3600000000, NEW.tool_name, NEW.tool_category, NEW.user_id, 1, NEW.execution_count,
        NEW.error_count, NEW.outcome = 'unknown', NEW.total_duration_ms IS NOT NULL,
        coalesce(NEW.total_duration_ms, 0), NEW.started_at, NEW.started_at)
    ON CONFLICT DO UPDATE SET held = held + 1, calls = calls + excluded.calls, errors = errors + excluded.errors,
        unknown = unknown + excluded.unknown, timed = timed + excluded.timed,
        total_duration_ms = total_duration_ms + excluded.total_duration_ms,
        first_start = min(first_start, excluded.first_start), last_start = max(last_start, excluded.last_start);
END;

CREATE TRIGGER tool_metrics_uncounted AFTER DELETE ON tool_metrics WHEN OLD.deleted_at IS NULL BEGIN
    UPDATE tool_hours SET held = held - 1, calls = calls - OLD.execution_count, errors = errors - OLD.error_count,
        unknown = unknown - (OLD.outcome = 'unknown'), timed = timed - (OLD.total_duration_ms IS NOT NULL),
        total_duration_ms = total_duration_ms - coalesce(OLD.total_duration_ms, 0)
    WHERE hour = OLD.started_at / 3600000000 AND tool_name = OLD.tool_name AND tool_category = OLD.tool_category
        AND user_id = OLD.user_id;
    DELETE FROM tool_hours
    WHERE hour = OLD.started_at / 3600000000 AND tool_name = OLD.tool_name AND tool_category = OLD.tool_category
        AND user_id = OLD.user_id AND held = 0;
    -- The hour's first or last call is gone: the next one is looked for.
    UPDATE tool_hours SET (first_start, last_start) = (
        SELECT min(started_at), max(started_at) FROM tool_metrics
        WHERE tool_name = OLD.tool_name AND started_at >= OLD.started_at / 3600000000 * 3600000000
            AND started_at < (OLD.started_at / 3600000000 + 1) * 3600000000
            AND tool_category = OLD.tool_category AND user_id = OLD.user_id AND deleted_at IS NULL)
    WHERE hour = OLD.started_at / 3600000000 AND tool_name = OLD.tool_name AND tool_category = OLD.tool_category
        AND user_id = OLD.user_id AND OLD.started_at IN (first_start, last_start);
END;

CREATE TRIGGER tool_metrics_recounted AFTER UPDATE OF
        user_id, tool_name, tool_category, started_at, execution_count, total_duration_ms, error_count, outcome,
        deleted_at
    ON tool_metrics
    WHEN (NEW.user_id, NEW.tool_name, NEW.tool_category, NEW.started_at, NEW.execution_count, NEW.total_duration_ms,
        NEW.error_count, NEW.outcome, NEW.deleted_at) IS NOT (OLD.user_id, OLD.tool_name, OLD.tool_category,
        OLD.started_at, OLD.execution_count, OLD.total_duration_ms, OLD.error_count, OLD.outcome, OLD.deleted_at)
BEGIN
    UPDATE tool_hours SET held = held - 1, calls = calls - OLD.execution_count, errors = errors - OLD.error_count,
        unknown = unknown - (OLD.outcome = 'unknown'), timed = timed - (OLD.total_duration_ms IS NOT NULL),
        total_duration_ms = total_duration_ms - coalesce(OLD.total_duration_ms, 0)
    WHERE hour = OLD.started_at / 3600000000 AND tool_name = OLD.tool_name AND tool_category = OLD.tool_category
        AND user_id = OLD.user_id AND OLD.deleted_at IS NULL;
    INSERT INTO tool_hours (hour, tool_name, tool_category, user_id, held, calls, errors, unknown, timed,
        total_duration_ms, first_start, last_start)
    SELECT NEW.started_at / 3600000000, NEW.tool_name, NEW.tool_category, NEW.user_id, 1, NEW.execution_count,
        NEW.error_count, NEW.outcome = 'unknown', NEW.total_duration_ms IS NOT NULL,
        coalesce(NEW.total_duration_ms, 0), NEW.started_at, NEW.started_at
    WHERE NEW.deleted_at IS NULL
    ON CONFLICT DO UPDATE SET held = held + 1, calls = calls + excluded.calls, errors = errors + excluded.errors,
        unknown = unknown + excluded.unknown, timed = timed + excluded.timed,
        total_duration_ms = total_duration_ms + excluded.total_duration_ms,
        first_start = min(first_start, excluded.first_start), last_start = max(last_start, excluded.last_start);
    DELETE FROM tool_hours
    WHERE hour = OLD.started_at / 3600000000 AND tool_name = OLD.tool_name AND tool_category = OLD.tool_category
        AND user_id = OLD.user_id AND held = 0;
    UPDATE tool_hours SET (first_start, last_start) = (
        SELECT min(started_at), max(started_at) FROM tool_metrics
        WHERE tool_name = OLD.tool_name AND started_at >= OLD.started_at / 3600000000 * 3600000000
            AND started_at < (OLD.started_at / 3600000000 + 1) * 3600000000
            AND tool_category = OLD.tool_category AND user_id = OLD.user_id AND deleted_at IS NULL)
    WHERE hour = OLD.started_at / 3600000000 AND tool_name = OLD.tool_name AND tool_category = OLD.tool_category
        AND user_id = OLD.user_id AND OLD.started_at IN (first_start, last_start)
        AND NOT (NEW.deleted_at IS NULL AND NEW.started_at = OLD.started_at AND NEW.tool_name = OLD.tool_name
            AND NEW.tool_category = OLD.tool_category AND NEW.user_id = OLD.user_id);
END;
