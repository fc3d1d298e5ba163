-- Orders and their lines. Statuses move by the LIFECYCLE in orderflow/domain/orders.py:
--   – → DRAFT → APPROVED → FULFILLING → SHIPPED → COMPLETED, or → CANCELLED from the first three.

-- migrate:up

CREATE TABLE orders (
    order_id    uuid        PRIMARY KEY,
    status      text        NOT NULL
        CHECK (status IN ('DRAFT', 'APPROVED', 'FULFILLING', 'SHIPPED', 'COMPLETED', 'CANCELLED')),
    version     int         NOT NULL,
    -- Why it was cancelled; a closed list.
    reason      text        CHECK (reason IN ('payment_declined', 'insufficient_funds', 'out_of_stock', 'unknown_sku',
                                              'customer', 'operator', 'draft_expired')),
    customer_id text        NOT NULL CHECK (length(customer_id) BETWEEN 1 AND 100),
    reference   text        CHECK (length(reference) BETWEEN 1 AND 100),
    currency    text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- Minor units.
    total       bigint      NOT NULL CHECK (total BETWEEN 1 AND 1000000000000),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status = 'CANCELLED') = (reason IS NOT NULL)),
    -- No status without the event that made it, whoever writes.
    FOREIGN KEY (order_id, version, status) REFERENCES events (order_id, version, status)
        DEFERRABLE INITIALLY DEFERRED
);

-- GET /orders: newest first, a page at a time, by what operators ask for.
CREATE INDEX orders_by_time ON orders (created_at DESC, order_id DESC);
CREATE INDEX orders_by_status ON orders (status, created_at DESC, order_id DESC);
CREATE INDEX orders_by_customer ON orders (customer_id, created_at DESC, order_id DESC);
CREATE INDEX orders_by_reference ON orders (reference, created_at DESC, order_id DESC);

CREATE TABLE order_lines (
    order_id   uuid   NOT NULL REFERENCES orders,
    line       int    NOT NULL CHECK (line BETWEEN 1 AND 200),
    sku        text   NOT NULL CHECK (length(sku) BETWEEN 1 AND 64),
    quantity   int    NOT NULL CHECK (quantity BETWEEN 1 AND 9999),
    unit_price bigint NOT NULL CHECK (unit_price > 0),
    PRIMARY KEY (order_id, line),
    UNIQUE (order_id, sku)
);

CREATE TRIGGER orders_take_the_next_version BEFORE INSERT OR UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION require_next_version();

-- While a ship waits for its capture, money is on its way: the order can only become SHIPPED. The writing
-- statement checks this too, but with a snapshot taken before it waited for the row's lock; this function
-- looks again once the lock is held.
CREATE FUNCTION hold_while_shipping() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'SHIPPED' AND EXISTS (
        SELECT FROM commands c WHERE c.order_id = NEW.order_id AND c.version IS NULL AND c.refusal IS NULL
    ) THEN
        RAISE EXCEPTION 'order % has a ship under way', NEW.order_id USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER orders_wait_for_their_ship BEFORE UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION hold_while_shipping();

GRANT SELECT, INSERT, UPDATE ON orders TO orderflow_service;
GRANT SELECT, INSERT ON order_lines TO orderflow_service;

-- migrate:down
DROP TABLE order_lines, orders;
DROP FUNCTION hold_while_shipping();
