-- How far it is known that every event is published or waits to be. Used by orderflow/store/coverage.py.

-- migrate:up

-- One row. Reconciliation looks again at what is younger, and so at what waited in the outbox at its last look.
CREATE TABLE coverage (
    only_one      bool        PRIMARY KEY DEFAULT true CHECK (only_one),
    checked_until timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE ON coverage TO orderflow_service;

-- migrate:down
DROP TABLE coverage;
