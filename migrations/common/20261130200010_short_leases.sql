-- No lease is longer than an hour: who may write here could otherwise hold publication up for years.
-- Used by orderflow/store/outbox.py; the setting has the same limit.

-- migrate:up

-- NaN, too: it is above every number.
UPDATE relay_lease SET seconds = NULL WHERE NOT seconds <= 3600;
ALTER TABLE relay_lease ADD CONSTRAINT relay_lease_is_short CHECK (seconds > 0 AND seconds <= 3600);

-- migrate:down
ALTER TABLE relay_lease DROP CONSTRAINT relay_lease_is_short;
