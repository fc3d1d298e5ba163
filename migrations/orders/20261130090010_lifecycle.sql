-- Orders move by their LIFECYCLE alone, and what was ordered stays as it was placed.

-- migrate:up

INSERT INTO transitions (from_status, to_status) VALUES
    ('', 'DRAFT'),
    ('DRAFT', 'APPROVED'),
    ('DRAFT', 'CANCELLED'),
    ('APPROVED', 'FULFILLING'),
    ('APPROVED', 'CANCELLED'),
    ('FULFILLING', 'SHIPPED'),
    ('FULFILLING', 'CANCELLED'),
    ('SHIPPED', 'COMPLETED');

DROP TRIGGER orders_take_the_next_version ON orders;

CREATE TRIGGER orders_move_by_the_lifecycle BEFORE INSERT OR UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION require_transition();

CREATE TRIGGER orders_keep_what_was_placed BEFORE UPDATE ON orders
    FOR EACH ROW
    WHEN ((OLD.order_id, OLD.customer_id, OLD.reference, OLD.currency, OLD.total, OLD.created_at)
          IS DISTINCT FROM (NEW.order_id, NEW.customer_id, NEW.reference, NEW.currency, NEW.total, NEW.created_at))
    EXECUTE FUNCTION refuse_change();

CREATE TRIGGER orders_stay BEFORE DELETE ON orders
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER order_lines_are_immutable BEFORE UPDATE OR DELETE ON order_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- A line costs something, and an order's total can't change: so no line comes later either.
CREATE FUNCTION require_lines_total() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    wrong uuid;
BEGIN
    SELECT o.order_id INTO wrong FROM orders o
    WHERE o.order_id IN (SELECT order_id FROM added)
      AND o.total <> (SELECT sum(l.quantity * l.unit_price) FROM order_lines l WHERE l.order_id = o.order_id)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'order %: its total is not that of its lines', wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER order_lines_make_the_total AFTER INSERT ON order_lines
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_lines_total();

ALTER FUNCTION hold_while_shipping() SET search_path = public, pg_temp;

-- migrate:down
ALTER FUNCTION hold_while_shipping() RESET search_path;
DROP TRIGGER order_lines_make_the_total ON order_lines;
DROP FUNCTION require_lines_total();
DROP TRIGGER order_lines_are_immutable ON order_lines;
DROP TRIGGER orders_stay ON orders;
DROP TRIGGER orders_keep_what_was_placed ON orders;
DROP TRIGGER orders_move_by_the_lifecycle ON orders;
CREATE TRIGGER orders_take_the_next_version BEFORE INSERT OR UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION require_next_version();
DELETE FROM transitions;
