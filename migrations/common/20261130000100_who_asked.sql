-- Who asked for what: CloudEvents' authcontext (authtype, and an opaque authid) of each command and event.
-- What was there before has an unknown author; what OrderFlow does by itself is the system's.

-- migrate:up

ALTER TABLE events
    ADD COLUMN authtype text NOT NULL DEFAULT 'unknown',
    ADD COLUMN authid text;
ALTER TABLE commands
    ADD COLUMN authtype text NOT NULL DEFAULT 'unknown',
    ADD COLUMN authid text DEFAULT 'before-authentication';
ALTER TABLE events ALTER COLUMN authtype SET DEFAULT 'system';
ALTER TABLE commands ALTER COLUMN authtype SET DEFAULT 'system', ALTER COLUMN authid DROP DEFAULT;

-- migrate:down
ALTER TABLE commands DROP COLUMN authtype, DROP COLUMN authid;
ALTER TABLE events DROP COLUMN authtype, DROP COLUMN authid;
