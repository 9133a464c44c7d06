-- What a dashboard was like before each edit. Stays on this machine; a trigger keeps it, so that an edit by any
-- program, and one that was pulled, can be looked up and undone. The latest 100 of each dashboard are kept.

PRAGMA user_version = 2;

CREATE TABLE dashboard_versions (
    dashboard_id             BLOB    NOT NULL REFERENCES dashboard_configs (id) ON UPDATE CASCADE ON DELETE CASCADE,
    version                  INTEGER NOT NULL,
    updated_at               INTEGER NOT NULL,
    dashboard_name           TEXT    NOT NULL,
    description              TEXT,
    widget_layout            TEXT    NOT NULL,
    is_public                INTEGER NOT NULL,
    refresh_interval_seconds INTEGER NOT NULL,
    shared_with_roles        TEXT    NOT NULL,
    PRIMARY KEY (dashboard_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER dashboard_configs_versioned AFTER UPDATE OF version ON dashboard_configs
    WHEN NEW.version <> OLD.version
BEGIN
    INSERT OR REPLACE INTO dashboard_versions (dashboard_id, version, updated_at, dashboard_name, description,
        widget_layout, is_public, refresh_interval_seconds, shared_with_roles)
    VALUES (NEW.id, OLD.version, OLD.updated_at, OLD.dashboard_name, OLD.description,
        OLD.widget_layout, OLD.is_public, OLD.refresh_interval_seconds, OLD.shared_with_roles);
    DELETE FROM dashboard_versions WHERE dashboard_id = NEW.id AND version <= NEW.version - 101;
END;
