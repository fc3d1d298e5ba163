-- The LIFECYCLE in the database: what the code refuses is refused whoever writes, also by hand and by a forged client.
-- Each service's own migration says which transitions there are, and ties its tables to these functions.

-- migrate:up

-- The transitions of this database's aggregate, as orderflow/domain says them: `make verify` compares. A change of a
-- LIFECYCLE is a change of this table, in a migration.
CREATE TABLE transitions (
    -- '' where the row is made.
    from_status text NOT NULL,
    to_status   text NOT NULL,
    PRIMARY KEY (from_status, to_status)
);

-- For the aggregates' rows: made in a status, or moved to one, that the table above allows, one version at a time (so
-- it stands in for require_next_version: one trigger is cheaper than two).
CREATE FUNCTION require_transition() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.version <> coalesce(OLD.version, 0) + 1 THEN
        RAISE EXCEPTION '% %: version % is not the next one', TG_TABLE_NAME, NEW.order_id, NEW.version
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT EXISTS (
        SELECT FROM transitions WHERE from_status = coalesce(OLD.status, '') AND to_status = NEW.status
    ) THEN
        RAISE EXCEPTION '% %: from % to % is no transition of its lifecycle',
            TG_TABLE_NAME, NEW.order_id, coalesce(OLD.status, 'no row'), NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- Whoever writes an event need not be able to write into the outbox: its entry is the owner's work. Names are looked up
-- where the owner made them, whatever the writer's search_path says.
ALTER FUNCTION append_to_outbox() SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION refuse_change() SET search_path = public, pg_temp;
ALTER FUNCTION require_next_version() SET search_path = public, pg_temp;

GRANT SELECT ON transitions TO orderflow_service;

-- migrate:down
ALTER FUNCTION require_next_version() RESET search_path;
ALTER FUNCTION refuse_change() RESET search_path;
ALTER FUNCTION append_to_outbox() SECURITY INVOKER RESET search_path;
DROP FUNCTION require_transition();
DROP TABLE transitions;
