-- Whose command left a handover. Used by api/limits/backlog.py.

-- migrate:up

-- The principal whose command left it first; NULL: OrderFlow itself.
ALTER TABLE handovers ADD COLUMN authid text;

-- migrate:down
ALTER TABLE handovers DROP COLUMN authid;
