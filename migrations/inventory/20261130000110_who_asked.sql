-- Who set or adjusted stock.

-- migrate:up

ALTER TABLE stock_movements
    ADD COLUMN authtype text NOT NULL DEFAULT 'unknown',
    ADD COLUMN authid text;
ALTER TABLE stock_movements ALTER COLUMN authtype SET DEFAULT 'system';

-- migrate:down
ALTER TABLE stock_movements DROP COLUMN authtype, DROP COLUMN authid;
