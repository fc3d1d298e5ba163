-- Which topic an event was published to. A topic that was deleted and made anew has the same name and offsets from 0:
-- offsets of two topics say nothing about each other. Used by orderflow/store/topics.py and truncation.py.

-- migrate:up

-- The topics that a relay has published to: Kafka gives each a UUID when it is made. A broker that gives none
-- (noida-db) has no row here.
CREATE TABLE topics (
    -- Small: it stands in every publication.
    topic_id int  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kafka_id uuid NOT NULL UNIQUE,
    name     text NOT NULL,
    -- The greatest is the present topic's. By no clock, which may step back.
    turn     int  NOT NULL
);

-- NULL: the broker gave the topic no id, or the event was published before this column was there.
ALTER TABLE publications ADD COLUMN topic_id int REFERENCES topics;

-- For the last one of each partition of a topic. Only the relay waits while it is made.
CREATE INDEX publications_by_topic ON publications (partition, topic_id, "offset");
DROP INDEX publications_by_place;

-- Why a partition stands still: it lost records, or the topic was made anew.
ALTER TABLE stopped_partitions ADD COLUMN cause text NOT NULL DEFAULT 'lost' CHECK (cause IN ('lost', 'made_anew'));

GRANT SELECT, INSERT, UPDATE ON topics TO orderflow_service;
-- What a republication finds on the topic at another place than it had.
GRANT UPDATE ("offset", topic_id) ON publications TO orderflow_service;

-- migrate:down
REVOKE UPDATE ("offset", topic_id) ON publications FROM orderflow_service;
ALTER TABLE stopped_partitions DROP COLUMN cause;
CREATE INDEX publications_by_place ON publications (partition, "offset");
DROP INDEX publications_by_topic;
ALTER TABLE publications DROP COLUMN topic_id;
DROP TABLE topics;
