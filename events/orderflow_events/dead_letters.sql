-- Records that a group has set aside instead of applying them. While an order has one here it is held: its later
-- events are set aside too, so that none overtakes. The redrive applies them in the order of their ids.
CREATE TABLE IF NOT EXISTS dead_letters (
    dead_letter_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer_group   text        NOT NULL,
    -- The order that is held; NULL: the record names none.
    subject          text,
    -- failed: its effect failed too often. undecodable: it is no event. follows: an event of its order is here already.
    kind             text        NOT NULL CHECK (kind IN ('failed', 'undecodable', 'follows')),
    reason           text        NOT NULL,
    attempts         int         NOT NULL CHECK (attempts >= 0),
    first_failed_at  timestamptz,
    last_failed_at   timestamptz,
    dead_lettered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The record as it came: the redrive needs neither Kafka nor its retention.
    record_topic     text        NOT NULL,
    record_partition int         NOT NULL,
    record_offset    bigint      NOT NULL,
    -- Kafka's, milliseconds since 1970.
    record_timestamp bigint      NOT NULL,
    record_key       bytea,
    record_value     bytea,
    header_names     text[]      NOT NULL,
    header_values    bytea[]     NOT NULL,
    CHECK ((attempts = 0) = (first_failed_at IS NULL) AND (attempts = 0) = (last_failed_at IS NULL)),
    -- A record is set aside once. With its time, as a topic that is made anew counts its offsets from 0 again.
    UNIQUE (consumer_group, record_topic, record_partition, record_offset, record_timestamp)
);

CREATE INDEX IF NOT EXISTS dead_letters_by_order ON dead_letters (consumer_group, subject, dead_letter_id);

-- What the limit counts.
CREATE INDEX IF NOT EXISTS dead_letters_by_age ON dead_letters (consumer_group, dead_lettered_at)
    WHERE kind <> 'follows';
