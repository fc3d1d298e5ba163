-- The few orders whose payment was declined lately, found without walking along those that were cancelled otherwise.
-- Used by orderflow/store/declines.py.

-- migrate:up
CREATE INDEX orders_declined ON orders (updated_at)
    WHERE status = 'CANCELLED' AND reason IN ('payment_declined', 'insufficient_funds');

-- migrate:down
DROP INDEX orders_declined;
