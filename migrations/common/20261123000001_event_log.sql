-- The four tables that every service's database has: what happened (events), what was asked and
-- what came of it (commands), what is not yet on Kafka (outbox) and where the rest went (publications).
-- Used by one piece of code, orderflow/store/commands.py.

-- migrate:up

-- Immutable history of each aggregate: versions 1, 2, 3 ... without a gap.
CREATE TABLE events (
    order_id       uuid        NOT NULL,
    version        int         NOT NULL CHECK (version >= 1),
    -- version - 1, or NULL for the first: the foreign key below makes a gap impossible.
    previous       int         GENERATED ALWAYS AS (nullif(version - 1, 0)) STORED,
    type           text        NOT NULL CHECK (type ~ '^[A-Z][A-Z_]*$'),
    -- The status that this event put the aggregate into.
    status         text        NOT NULL,
    data           jsonb       NOT NULL,
    command_id     text        NOT NULL,
    correlation_id text        NOT NULL,
    traceparent    text,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, version),
    -- What the aggregate's row points to: no status without the event that made it.
    UNIQUE (order_id, version, status),
    FOREIGN KEY (order_id, previous) REFERENCES events (order_id, version)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is immutable: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER events_are_immutable BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What was asked, and what came of it: the version it made, or a refusal, or neither yet (pending).
CREATE TABLE commands (
    order_id     uuid        NOT NULL,
    -- c:<Idempotency-Key> of a client, s:<n> of a raw signal, w:<word> of the workflow.
    command_id   text        NOT NULL CHECK (length(command_id) BETWEEN 3 AND 250),
    name         text        NOT NULL,
    -- SHA-256 over the command's name and its canonical JSON, hex; NULL for the workflow's own.
    request_hash text,
    version      int,
    -- A problem: slug, status, detail and what belongs to it.
    refusal      jsonb,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, command_id),
    FOREIGN KEY (order_id, version) REFERENCES events (order_id, version),
    CHECK (version IS NULL OR refusal IS NULL)
);

-- At most one command of an order is under way (a ship whose capture runs).
CREATE UNIQUE INDEX commands_pending ON commands (order_id) WHERE version IS NULL AND refusal IS NULL;

-- Events that are not on Kafka yet. The relay reads them by state (what is here is pending), never
-- by "position greater than the last seen": transactions commit out of order.
CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id uuid   NOT NULL,
    version  int    NOT NULL,
    UNIQUE (order_id, version)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION append_to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (order_id, version) VALUES (NEW.order_id, NEW.version);
    RETURN NULL;
END $$;

-- No event without its outbox entry, whoever writes it.
CREATE TRIGGER events_go_to_the_outbox AFTER INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION append_to_outbox();

-- Where each event stands on Kafka.
CREATE TABLE publications (
    order_id     uuid        NOT NULL,
    version      int         NOT NULL,
    partition    int         NOT NULL,
    "offset"     bigint      NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, version),
    FOREIGN KEY (order_id, version) REFERENCES events (order_id, version)
);

-- The relay's leader. A lease, not an advisory lock: a frozen process would keep that for ever.
CREATE TABLE relay_lease (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Orders whose record Kafka refuses even when sent alone. Their later events wait too.
CREATE TABLE parked_orders (
    order_id  uuid        PRIMARY KEY,
    version   int         NOT NULL,
    error     text        NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- For the aggregates' rows: a row starts at version 1 and every change makes the next one.
CREATE FUNCTION require_next_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.version <> 1 OR TG_OP = 'UPDATE' AND NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION '% %: version % is not the next one', TG_TABLE_NAME, TG_OP, NEW.version
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

GRANT SELECT, INSERT ON events, publications TO orderflow_service;
GRANT SELECT, INSERT, UPDATE ON commands TO orderflow_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox, relay_lease, parked_orders TO orderflow_service;

-- migrate:down
DROP TABLE parked_orders, relay_lease, publications, outbox, commands, events;
DROP FUNCTION require_next_version(), append_to_outbox(), refuse_change();
