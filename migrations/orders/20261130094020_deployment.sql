-- Which stack this database belongs to. Two stacks that share a Kafka and a consumer group each track only part of their
-- orders, and see it by this. Used by orderflow/store/deployment.py.

-- migrate:up
CREATE TABLE deployment (
    only_one      bool PRIMARY KEY DEFAULT true CHECK (only_one),
    deployment_id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO deployment DEFAULT VALUES;
GRANT SELECT ON deployment TO orderflow_service;

-- migrate:down
DROP TABLE deployment;
