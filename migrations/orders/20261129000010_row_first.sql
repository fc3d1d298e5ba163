-- What an order's workflow must be told, the sealed payment tokens, and what a ship that waits for its capture carries.

-- migrate:up

-- Raised by each write of a row that Temporal must know of. Never used twice: who deletes a handover names the number
-- that was sent, and a newer one stays.
CREATE SEQUENCE handover_numbers;

-- "Temporal must look at this order": at most one row an order, deleted once Temporal was told.
CREATE TABLE handovers (
    order_id   uuid        PRIMARY KEY REFERENCES orders,
    number     bigint      NOT NULL DEFAULT nextval('handover_numbers'),
    -- The command that wrote last, for people who read the workflow's timeline. The workflow believes none of it.
    name       text        NOT NULL CHECK (name IN ('approve', 'ship', 'cancel', 'complete', 'look')),
    -- A run is started although one came to its end: reconciliation found something left to do.
    again      boolean     NOT NULL DEFAULT false,
    -- When the oldest write that Temporal was not told of happened.
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The API tells Temporal at once; a dispatcher does from here on.
    next_at    timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 second',
    attempts   int         NOT NULL DEFAULT 0,
    -- What Temporal said when it refused the message: a person should look. NULL: it was not refused.
    refused    text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX handovers_due ON handovers (next_at);

-- A payment token, sealed for the payments role: `<key id>.<base64url>`. Deleted by the statement that ends the DRAFT or
-- leaves APPROVED.
CREATE TABLE payment_tokens (
    order_id uuid PRIMARY KEY REFERENCES orders,
    sealed   text NOT NULL CHECK (length(sealed) BETWEEN 20 AND 1000)
);

-- Of a pending ship: what goes into its event, and the request that asked for it.
ALTER TABLE commands
    ADD COLUMN data jsonb,
    ADD COLUMN correlation_id text,
    ADD COLUMN traceparent text;

-- The sweep: DRAFTs past their time, the oldest first.
CREATE INDEX orders_drafts ON orders (created_at) WHERE status = 'DRAFT';

GRANT SELECT, INSERT, UPDATE, DELETE ON handovers, payment_tokens TO orderflow_service;
GRANT USAGE ON SEQUENCE handover_numbers TO orderflow_service;

-- migrate:down
DROP INDEX orders_drafts;
ALTER TABLE commands DROP COLUMN data, DROP COLUMN correlation_id, DROP COLUMN traceparent;
DROP TABLE payment_tokens, handovers;
DROP SEQUENCE handover_numbers;
