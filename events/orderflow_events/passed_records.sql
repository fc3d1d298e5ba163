-- Records that a group could not even set aside, and passed: where each stands, for people. Nothing is held by it.
CREATE TABLE IF NOT EXISTS passed_records (
    consumer_group   text        NOT NULL,
    record_topic     text        NOT NULL,
    record_partition int         NOT NULL,
    record_offset    bigint      NOT NULL,
    -- Kafka's, milliseconds since 1970.
    record_timestamp bigint      NOT NULL,
    -- What refused its row in dead_letters. ASCII: not every database has all characters.
    reason           text        NOT NULL,
    passed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_group, record_topic, record_partition, record_offset, record_timestamp)
);
