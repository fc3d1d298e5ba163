-- A lease says how long it is: relays with different settings believe each other's.
-- Used by orderflow/store/outbox.py.

-- migrate:up

-- NULL: taken by a relay of an earlier release.
ALTER TABLE relay_lease ADD COLUMN seconds double precision CHECK (seconds > 0);

-- migrate:down
ALTER TABLE relay_lease DROP COLUMN seconds;
