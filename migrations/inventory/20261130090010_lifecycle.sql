-- Reservations move by their LIFECYCLE alone, and what they reserved stays as it was.

-- migrate:up

INSERT INTO transitions (from_status, to_status) VALUES
    ('', 'RESERVED'),
    ('', 'REJECTED'),
    -- The door is shut before anybody came.
    ('', 'RELEASED'),
    ('RESERVED', 'COMMITTED'),
    ('RESERVED', 'RELEASED');

DROP TRIGGER reservations_take_the_next_version ON reservations;

CREATE TRIGGER reservations_move_by_the_lifecycle BEFORE INSERT OR UPDATE ON reservations
    FOR EACH ROW EXECUTE FUNCTION require_transition();

CREATE TRIGGER reservations_keep_what_was_reserved BEFORE UPDATE ON reservations
    FOR EACH ROW
    WHEN ((OLD.order_id, OLD.reason, OLD.created_at) IS DISTINCT FROM (NEW.order_id, NEW.reason, NEW.created_at))
    EXECUTE FUNCTION refuse_change();

CREATE TRIGGER reservations_stay BEFORE DELETE ON reservations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER reservation_lines_are_immutable BEFORE UPDATE OR DELETE ON reservation_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Lines come in the transaction that makes their reservation, and never later.
CREATE FUNCTION require_new_reservation() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    older uuid;
BEGIN
    SELECT r.order_id INTO older FROM reservations r
    WHERE r.order_id IN (SELECT order_id FROM added) AND r.xmin <> pg_current_xact_id()::xid
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'reservation %: it has its lines already', older
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER reservation_lines_come_at_once AFTER INSERT ON reservation_lines
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_new_reservation();

-- migrate:down
DROP TRIGGER reservation_lines_come_at_once ON reservation_lines;
DROP FUNCTION require_new_reservation();
DROP TRIGGER reservation_lines_are_immutable ON reservation_lines;
DROP TRIGGER reservations_stay ON reservations;
DROP TRIGGER reservations_keep_what_was_reserved ON reservations;
DROP TRIGGER reservations_move_by_the_lifecycle ON reservations;
CREATE TRIGGER reservations_take_the_next_version BEFORE INSERT OR UPDATE ON reservations
    FOR EACH ROW EXECUTE FUNCTION require_next_version();
DELETE FROM transitions;
