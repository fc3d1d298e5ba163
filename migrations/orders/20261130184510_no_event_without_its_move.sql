-- No event without the move that it tells of: whoever may write events could otherwise write the next one of a row ahead
-- of it, which blocks that row for good, and is published.

-- migrate:up

-- At the end of the transaction, as a statement may write the event before the row.
CREATE FUNCTION require_move() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM orders WHERE order_id = NEW.order_id AND version >= NEW.version) THEN
        RAISE EXCEPTION 'event % of %: orders has not moved to it', NEW.version, NEW.order_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER events_tell_of_a_move AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION require_move();

-- migrate:down
DROP TRIGGER events_tell_of_a_move ON events;
DROP FUNCTION require_move();
