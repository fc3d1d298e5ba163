-- Since when the tracked events are not known to be true. Used by orderflow/store/tracked_truth.py.

-- migrate:up

-- One row. Reconciliation compares what was tracked since then with the events of the three databases.
CREATE TABLE tracked_truth (
    only_one      bool        PRIMARY KEY DEFAULT true CHECK (only_one),
    checked_until timestamptz NOT NULL
);

-- Rows come in the order of this column: a few blocks are read for an hour, however large the table is.
CREATE INDEX tracked_events_tracked_at ON tracked_events USING brin (tracked_at);

GRANT SELECT, INSERT, UPDATE ON tracked_truth TO orderflow_service;
GRANT DELETE ON tracked_events, tracked_orders TO orderflow_service;

-- migrate:down
REVOKE DELETE ON tracked_events, tracked_orders FROM orderflow_service;
DROP INDEX tracked_events_tracked_at;
DROP TABLE tracked_truth;
