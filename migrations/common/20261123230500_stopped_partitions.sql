-- When the broker loses records that it had acknowledged: what the relay remembers of it, and what the repair needs.
-- Used by orderflow/store/truncation.py.

-- migrate:up

-- Partitions in which another record, or none, stands where the last acknowledged one should. Nothing is sent there,
-- whoever leads, until `orderflow outbox republish` has put the missing events back into the outbox.
CREATE TABLE stopped_partitions (
    partition  int         PRIMARY KEY CHECK (partition >= 0),
    -- The event that was acknowledged last, and where it stood.
    "offset"   bigint      NOT NULL,
    order_id   uuid        NOT NULL,
    version    int         NOT NULL,
    -- What is there instead, in words.
    found      text        NOT NULL,
    stopped_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Orders with pending entries that belong into a stopped partition: left out by the relay until it goes on, so that
-- those of other partitions are read. An order comes in when the relay meets its entry.
CREATE TABLE waiting_orders (
    order_id  uuid PRIMARY KEY,
    partition int  NOT NULL REFERENCES stopped_partitions ON DELETE CASCADE
);

CREATE INDEX waiting_orders_by_partition ON waiting_orders (partition);

-- For the last one of each partition.
CREATE INDEX publications_by_place ON publications (partition, "offset");

GRANT SELECT, INSERT, DELETE ON stopped_partitions, waiting_orders TO orderflow_service;
-- A republication moves them back to the outbox.
GRANT DELETE ON publications TO orderflow_service;
-- `orderflow doctor` compares it with the files.
GRANT SELECT ON schema_migrations TO orderflow_service;

-- migrate:down
REVOKE SELECT ON schema_migrations FROM orderflow_service;
REVOKE DELETE ON publications FROM orderflow_service;
DROP INDEX publications_by_place;
DROP TABLE waiting_orders, stopped_partitions;
