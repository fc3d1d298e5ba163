-- The consumer kit's inbox: which events a consumer group has applied; written in the transaction of the effect.
CREATE TABLE IF NOT EXISTS processed_messages (
    consumer_group text        NOT NULL,
    -- CloudEvents source, subject (the order) and sequence (the version): an event's identity.
    source         text        NOT NULL,
    subject        text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence >= 1),
    processed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_group, source, subject, sequence)
);

-- Pruning goes from the oldest.
CREATE INDEX IF NOT EXISTS processed_messages_by_age ON processed_messages (consumer_group, processed_at);
