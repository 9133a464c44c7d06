-- Serves pages of calls by start: a page at any place of a million rows reads its own rows and no others.

PRAGMA user_version = 3;

CREATE INDEX tool_metrics_start ON tool_metrics (started_at, id);
