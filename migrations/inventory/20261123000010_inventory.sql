-- Stock, its movements, and the reservations that hold it. Reservations move by the LIFECYCLE in
-- orderflow/domain/inventory.py: – → RESERVED → COMMITTED, – → REJECTED, and – or RESERVED → RELEASED (the shut door).

-- migrate:up

CREATE TABLE stock (
    sku        text        PRIMARY KEY CHECK (length(sku) BETWEEN 1 AND 64),
    on_hand    int         NOT NULL CHECK (on_hand BETWEEN 0 AND 1000000000),
    reserved   int         NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    -- Its ETag. Every change makes the next one.
    version    int         NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Never oversold.
    CHECK (reserved <= on_hand)
) WITH (fillfactor = 50); -- hot rows: room for updates in place

CREATE TRIGGER stock_takes_the_next_version BEFORE INSERT OR UPDATE ON stock
    FOR EACH ROW EXECUTE FUNCTION require_next_version();

-- Why on_hand is what it is: the sum of a SKU's movements.
CREATE TABLE stock_movements (
    movement_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku          text        NOT NULL REFERENCES stock,
    kind         text        NOT NULL CHECK (kind IN ('set', 'adjust', 'commit')),
    delta        int         NOT NULL,
    reason       text        CHECK (length(reason) BETWEEN 1 AND 100),
    -- The order whose reservation left the warehouse; NULL for a command of the API.
    order_id     uuid,
    -- The API command that made it, what it asked, and what it answers when it is sent again.
    command_id   text,
    request_hash text,
    on_hand      int         NOT NULL,
    reserved     int         NOT NULL,
    version      int         NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (order_id, sku),
    UNIQUE (command_id),
    CHECK ((kind = 'commit') = (order_id IS NOT NULL)),
    CHECK ((command_id IS NULL) = (order_id IS NOT NULL)),
    CHECK ((command_id IS NULL) = (request_hash IS NULL))
);

CREATE INDEX stock_movements_by_sku ON stock_movements (sku, movement_id);

CREATE TRIGGER stock_movements_are_immutable BEFORE UPDATE OR DELETE ON stock_movements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE reservations (
    order_id   uuid        PRIMARY KEY,
    status     text        NOT NULL CHECK (status IN ('RESERVED', 'REJECTED', 'COMMITTED', 'RELEASED')),
    version    int         NOT NULL,
    reason     text        CHECK (reason IN ('out_of_stock', 'unknown_sku')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status = 'REJECTED') = (reason IS NOT NULL)),
    FOREIGN KEY (order_id, version, status) REFERENCES events (order_id, version, status)
        DEFERRABLE INITIALLY DEFERRED
);

CREATE TRIGGER reservations_take_the_next_version BEFORE INSERT OR UPDATE ON reservations
    FOR EACH ROW EXECUTE FUNCTION require_next_version();

CREATE TABLE reservation_lines (
    order_id uuid NOT NULL REFERENCES reservations,
    sku      text NOT NULL REFERENCES stock,
    quantity int  NOT NULL CHECK (quantity BETWEEN 1 AND 9999),
    PRIMARY KEY (order_id, sku)
);

GRANT SELECT, INSERT, UPDATE ON stock, reservations TO orderflow_service;
GRANT SELECT, INSERT ON stock_movements, reservation_lines TO orderflow_service;

-- migrate:down
DROP TABLE reservation_lines, reservations, stock_movements, stock;
