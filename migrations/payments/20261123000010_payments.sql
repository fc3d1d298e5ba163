-- Payments, one an order. Statuses move by the LIFECYCLE in orderflow/domain/payments.py:
--   – → AUTHORIZED → CAPTURED, – → DECLINED, and – or AUTHORIZED → VOIDING → VOIDED (the shut door).

-- migrate:up

CREATE TABLE payments (
    order_id         uuid        PRIMARY KEY,
    status           text        NOT NULL
        CHECK (status IN ('AUTHORIZED', 'DECLINED', 'CAPTURED', 'VOIDING', 'VOIDED')),
    version          int         NOT NULL,
    -- Minor units. Unknown where the door was shut before any authorization.
    amount           bigint      CHECK (amount > 0),
    currency         text        CHECK (currency ~ '^[A-Z]{3}$'),
    reason           text        CHECK (reason IN ('payment_declined', 'insufficient_funds')),
    authorization_id text,
    capture_id       text,
    refunded         boolean     NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((amount IS NULL) = (currency IS NULL)),
    CHECK (status NOT IN ('AUTHORIZED', 'CAPTURED') OR (amount IS NOT NULL AND authorization_id IS NOT NULL)),
    CHECK ((status = 'CAPTURED') = (capture_id IS NOT NULL)),
    CHECK ((status = 'DECLINED') = (reason IS NOT NULL)),
    FOREIGN KEY (order_id, version, status) REFERENCES events (order_id, version, status)
        DEFERRABLE INITIALLY DEFERRED
);

CREATE TRIGGER payments_take_the_next_version BEFORE INSERT OR UPDATE ON payments
    FOR EACH ROW EXECUTE FUNCTION require_next_version();

GRANT SELECT, INSERT, UPDATE ON payments TO orderflow_service;

-- migrate:down
DROP TABLE payments;
