/* One JSON document per row, read through generated columns. */
CREATE TABLE settings (
    key TEXT NOT NULL PRIMARY KEY,
    val ANY
);
CREATE TABLE hosts (
    id TEXT NOT NULL PRIMARY KEY,
    label TEXT AS (json_extract(doc, '$.label')),
    doc TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(doc))
);
CREATE TABLE units (
    id TEXT NOT NULL PRIMARY KEY,
    doc TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(doc)),
    host_id TEXT NOT NULL DEFAULT '',
    space TEXT AS (coalesce(json_extract(doc, '$.labels."fleet.space"'), 'default')),
    seen_at TIMESTAMP NOT NULL DEFAULT '1970-01-01 00:00:00'
);
CREATE INDEX hosts_label ON hosts (label);
CREATE INDEX units_space ON units (space, host_id) WHERE host_id <> '';
