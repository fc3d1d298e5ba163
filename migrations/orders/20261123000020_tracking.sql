-- What the stream says about each order, across the three services; written by the tracking consumer only.
-- tracked_events is a set of events, and tracked_orders keeps each source's highest version: neither depends on the
-- order in which events come, nor on how often.

-- migrate:up

-- The consumer kit's inbox (events/orderflow_events/processed_messages.sql).
-- Which events a consumer group has applied; written in the transaction of the effect.
CREATE TABLE processed_messages (
    consumer_group text        NOT NULL,
    -- CloudEvents source, subject (the order) and sequence (the version): an event's identity.
    source         text        NOT NULL,
    subject        text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence >= 1),
    processed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_group, source, subject, sequence)
);

CREATE TABLE tracked_events (
    order_id    uuid        NOT NULL,
    source      text        NOT NULL,
    version     int         NOT NULL,
    type        text        NOT NULL,
    -- What the source's part of the order became.
    status      text        NOT NULL,
    reason      text,
    recorded_at timestamptz NOT NULL,
    tracked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, source, version)
);

CREATE TABLE tracked_orders (
    order_id           uuid        PRIMARY KEY,
    -- From the highest version seen of each source; NULL: nothing seen of it.
    order_status       text,
    order_version      int,
    reason             text,
    payment_status     text,
    payment_version    int,
    payment_reason     text,
    inventory_status   text,
    inventory_version  int,
    inventory_reason   text,
    tracked_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((order_status IS NULL) = (order_version IS NULL)),
    CHECK ((payment_status IS NULL) = (payment_version IS NULL)),
    CHECK ((inventory_status IS NULL) = (inventory_version IS NULL))
) WITH (fillfactor = 70);

-- What people and the API read.
CREATE VIEW order_state_tracking AS
SELECT t.order_id,
       t.order_status, t.order_version, t.reason,
       t.payment_status, t.payment_version, t.payment_reason,
       t.inventory_status, t.inventory_version, t.inventory_reason,
       -- The money is held or taken; the stock is held or gone out.
       coalesce(t.payment_status IN ('AUTHORIZED', 'CAPTURED'), false) AS payment_authorized,
       coalesce(t.inventory_status IN ('RESERVED', 'COMMITTED'), false) AS inventory_reserved,
       jsonb_strip_nulls(jsonb_build_object(
           'orders', t.order_status, 'payments', t.payment_status, 'inventory', t.inventory_status)) AS statuses,
       (SELECT jsonb_agg(jsonb_build_object(
                   'source', e.source, 'version', e.version, 'type', e.type, 'status', e.status, 'reason', e.reason,
                   'recorded_at', e.recorded_at, 'tracked_at', e.tracked_at)
               ORDER BY e.recorded_at, e.source, e.version)
        FROM tracked_events e WHERE e.order_id = t.order_id) AS timeline,
       t.tracked_at
FROM tracked_orders t;

GRANT SELECT, INSERT, DELETE ON processed_messages TO orderflow_service;
GRANT SELECT, INSERT ON tracked_events TO orderflow_service;
GRANT SELECT, INSERT, UPDATE ON tracked_orders TO orderflow_service;
GRANT SELECT ON order_state_tracking TO orderflow_service;

-- migrate:down
DROP VIEW order_state_tracking;
DROP TABLE tracked_orders, tracked_events, processed_messages;
