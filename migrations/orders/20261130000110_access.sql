-- Who may call the API: principals, their API keys, and what was done with either.

-- migrate:up

CREATE TABLE principals (
    principal_id uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    name         text        NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    kind         text        NOT NULL CHECK (kind IN ('api_key', 'service_account', 'app_user')),
    -- The one customer whose orders it reaches; NULL: it is bound to none.
    customer_id  text        CHECK (length(customer_id) BETWEEN 1 AND 100),
    scopes       text[]      NOT NULL CHECK (cardinality(scopes) >= 1),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE api_keys (
    key_id       text        PRIMARY KEY CHECK (key_id ~ '^[a-z0-9]{16}$'),
    principal_id uuid        NOT NULL REFERENCES principals,
    -- SHA-256 of the key. Of the key itself nothing is kept.
    digest       bytea       NOT NULL CHECK (length(digest) = 32),
    not_before   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Written once a minute at most.
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CHECK (expires_at > not_before)
);

CREATE INDEX api_keys_of ON api_keys (principal_id);

-- Who did what, beside what commands and events say of themselves. Only ever added to.
CREATE TABLE audit (
    number      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    authtype    text        NOT NULL,
    authid      text,
    action      text        NOT NULL CHECK (action ~ '^[a-z_.]{1,60}$'),
    subject     text        CHECK (length(subject) <= 300),
    detail      jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_by_time ON audit (recorded_at);

CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON audit TO orderflow_service;
GRANT SELECT, INSERT, UPDATE ON principals TO orderflow_service;
GRANT SELECT, INSERT, UPDATE ON api_keys TO orderflow_service;

-- migrate:down
DROP TABLE audit, api_keys, principals;
