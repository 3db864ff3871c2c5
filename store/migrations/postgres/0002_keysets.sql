-- +goose Up
-- The data keys of each organization, wrapped under the key provider's key.
CREATE TABLE keysets (
    org     TEXT COLLATE "C" PRIMARY KEY,
    wrapped BYTEA NOT NULL
);
