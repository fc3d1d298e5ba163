-- Payments move by their LIFECYCLE alone, and what the gateway authorized stays as it was.

-- migrate:up

INSERT INTO transitions (from_status, to_status) VALUES
    ('', 'AUTHORIZED'),
    ('', 'DECLINED'),
    -- The door is shut before anybody came.
    ('', 'VOIDING'),
    ('AUTHORIZED', 'CAPTURED'),
    ('AUTHORIZED', 'VOIDING'),
    ('VOIDING', 'VOIDED');

DROP TRIGGER payments_take_the_next_version ON payments;

CREATE TRIGGER payments_move_by_the_lifecycle BEFORE INSERT OR UPDATE ON payments
    FOR EACH ROW EXECUTE FUNCTION require_transition();

CREATE TRIGGER payments_keep_what_was_authorized BEFORE UPDATE ON payments
    FOR EACH ROW
    WHEN ((OLD.order_id, OLD.amount, OLD.currency, OLD.reason, OLD.authorization_id, OLD.created_at)
          IS DISTINCT FROM (NEW.order_id, NEW.amount, NEW.currency, NEW.reason, NEW.authorization_id, NEW.created_at))
    EXECUTE FUNCTION refuse_change();

CREATE TRIGGER payments_stay BEFORE DELETE ON payments
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- migrate:down
DROP TRIGGER payments_stay ON payments;
DROP TRIGGER payments_keep_what_was_authorized ON payments;
DROP TRIGGER payments_move_by_the_lifecycle ON payments;
CREATE TRIGGER payments_take_the_next_version BEFORE INSERT OR UPDATE ON payments
    FOR EACH ROW EXECUTE FUNCTION require_next_version();
DELETE FROM transitions;
