-- +goose Up
-- The data keys of each organization, wrapped under the key provider's key.
CREATE TABLE keysets (
    org     TEXT PRIMARY KEY,
    wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;
