-- For the events of the last hours: which of them are neither in the outbox nor published. A BRIN index is some pages,
-- and an insert costs nothing, as events are appended in the order of their times.

-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_by_time ON events USING brin (recorded_at) WITH (pages_per_range = 32, autosummarize = on);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS events_by_time;
