-- +goose Up
-- Who holds the database: the server that opened it last. Every batch reads it,
-- so a server that lost its lock cannot commit once another has taken over.
CREATE TABLE holder (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    token TEXT NOT NULL
) STRICT;

-- The head of each organization's log; the row that every batch locks.
-- indexed is the watermark of uses: entries below it are there.
CREATE TABLE log_head (
    org         TEXT PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,
    incarnation INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    last_change INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    frontier    BLOB NOT NULL,
    indexed     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- at is the organization's number << 40 | seq: one integer key, in the order of
-- the log, without an index beside it.
CREATE TABLE entries (
    at   INTEGER PRIMARY KEY,
    leaf BLOB NOT NULL,
    pack BLOB NOT NULL
) STRICT;

-- Which entries are changes of authority, so that loading need not read the uses.
CREATE TABLE changes (
    at INTEGER PRIMARY KEY
) STRICT;

-- Full C2SP tiles; org is the organization's number here.
CREATE TABLE nodes (
    org    INTEGER NOT NULL,
    level  INTEGER NOT NULL,
    idx    INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (org, level, idx)
) STRICT;

CREATE TABLE grant_uses (
    org      TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    remaining INTEGER NOT NULL,
    PRIMARY KEY (org, grant_id)
) STRICT, WITHOUT ROWID;

-- The signed checkpoints that were made, the newest size last.
CREATE TABLE checkpoints (
    org  TEXT NOT NULL,
    size INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (org, size)
) STRICT;

-- Nouns. body is the canonical JSON that the entry entry_seq commits to; every
-- other column is derived from it and cannot disagree (invariant 12).
CREATE TABLE orgs (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    name TEXT GENERATED ALWAYS AS (json_extract(body, '$.name')) VIRTUAL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.id') = org)
) STRICT;
CREATE INDEX orgs_created ON orgs (org, created, id);
CREATE UNIQUE INDEX orgs_name ON orgs (name) WHERE state <> 'revoked';

CREATE TABLE identities (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    kind TEXT GENERATED ALWAYS AS (json_extract(body, '$.kind')) VIRTUAL,
    name TEXT GENERATED ALWAYS AS (json_extract(body, '$.name')) VIRTUAL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    expires TEXT GENERATED ALWAYS AS (json_extract(body, '$.expires')) VIRTUAL,
    owner TEXT GENERATED ALWAYS AS (json_extract(body, '$.owner')) VIRTUAL,
    backup TEXT GENERATED ALWAYS AS (json_extract(body, '$.backup')) VIRTUAL,
    parent TEXT GENERATED ALWAYS AS (json_extract(body, '$.parent')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX identities_created ON identities (org, created, id);
CREATE UNIQUE INDEX identities_name ON identities (org, name) WHERE state <> 'revoked';
CREATE INDEX identities_past ON identities (org, name) WHERE state = 'revoked';
CREATE INDEX identities_owner ON identities (org, owner) WHERE owner IS NOT NULL;
CREATE INDEX identities_parent ON identities (org, parent) WHERE parent IS NOT NULL;

CREATE TABLE applications (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    name TEXT GENERATED ALWAYS AS (json_extract(body, '$.name')) VIRTUAL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    env TEXT GENERATED ALWAYS AS (json_extract(body, '$.env')) VIRTUAL,
    owner TEXT GENERATED ALWAYS AS (json_extract(body, '$.owner')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX applications_created ON applications (org, created, id);
CREATE UNIQUE INDEX applications_name ON applications (org, name) WHERE state <> 'revoked';
CREATE INDEX applications_past ON applications (org, name) WHERE state = 'revoked';

CREATE TABLE credentials (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    name TEXT GENERATED ALWAYS AS (json_extract(body, '$.name')) VIRTUAL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    expires TEXT GENERATED ALWAYS AS (json_extract(body, '$.expires')) VIRTUAL,
    app TEXT GENERATED ALWAYS AS (json_extract(body, '$.app')) VIRTUAL,
    owner TEXT GENERATED ALWAYS AS (json_extract(body, '$.owner')) VIRTUAL,
    backup TEXT GENERATED ALWAYS AS (json_extract(body, '$.backup')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX credentials_created ON credentials (org, created, id);
CREATE UNIQUE INDEX credentials_name ON credentials (org, name) WHERE state <> 'revoked';
CREATE INDEX credentials_past ON credentials (org, name) WHERE state = 'revoked';
CREATE INDEX credentials_app ON credentials (org, app);
CREATE INDEX credentials_owner ON credentials (org, owner) WHERE owner IS NOT NULL;

CREATE TABLE versions (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    sealed BLOB NOT NULL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    credential TEXT GENERATED ALWAYS AS (json_extract(body, '$.credential')) VIRTUAL,
    fingerprint TEXT GENERATED ALWAYS AS (json_extract(body, '$.fingerprint')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX versions_created ON versions (org, created, id);
CREATE INDEX versions_credential ON versions (org, credential);

CREATE TABLE grants (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    expires TEXT GENERATED ALWAYS AS (json_extract(body, '$.expires')) VIRTUAL,
    identity TEXT GENERATED ALWAYS AS (json_extract(body, '$.identity')) VIRTUAL,
    credential TEXT GENERATED ALWAYS AS (json_extract(body, '$.credential')) VIRTUAL,
    parent TEXT GENERATED ALWAYS AS (json_extract(body, '$.parent')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX grants_created ON grants (org, created, id);
CREATE INDEX grants_identity ON grants (org, identity);
CREATE INDEX grants_credential ON grants (org, credential);
CREATE INDEX grants_parent ON grants (org, parent) WHERE parent IS NOT NULL;

CREATE TABLE sessions (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    expires TEXT GENERATED ALWAYS AS (json_extract(body, '$.expires')) VIRTUAL,
    identity TEXT GENERATED ALWAYS AS (json_extract(body, '$.identity')) VIRTUAL,
    started TEXT GENERATED ALWAYS AS (json_extract(body, '$.started')) VIRTUAL,
    parent TEXT GENERATED ALWAYS AS (json_extract(body, '$.parent')) VIRTUAL,
    hash TEXT GENERATED ALWAYS AS (json_extract(body, '$.hash')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX sessions_created ON sessions (org, created, id);
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_identity ON sessions (org, identity) WHERE state = 'active';
CREATE INDEX sessions_started ON sessions (org, started) WHERE state = 'active';
CREATE INDEX sessions_parent ON sessions (org, parent) WHERE parent IS NOT NULL;

CREATE TABLE keys (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    name TEXT GENERATED ALWAYS AS (json_extract(body, '$.name')) VIRTUAL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    expires TEXT GENERATED ALWAYS AS (json_extract(body, '$.expires')) VIRTUAL,
    identity TEXT GENERATED ALWAYS AS (json_extract(body, '$.identity')) VIRTUAL,
    hash TEXT GENERATED ALWAYS AS (json_extract(body, '$.hash')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX keys_created ON keys (org, created, id);
CREATE UNIQUE INDEX keys_name ON keys (org, name) WHERE state <> 'revoked';
CREATE INDEX keys_past ON keys (org, name) WHERE state = 'revoked';
CREATE UNIQUE INDEX keys_hash ON keys (hash);
CREATE INDEX keys_identity ON keys (org, identity);

CREATE TABLE policies (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    entry_seq INTEGER NOT NULL,
    entry_digest BLOB NOT NULL,
    name TEXT GENERATED ALWAYS AS (json_extract(body, '$.name')) VIRTUAL,
    state TEXT GENERATED ALWAYS AS (json_extract(body, '$.state')) VIRTUAL,
    created TEXT GENERATED ALWAYS AS (json_extract(body, '$.created')) VIRTUAL,
    PRIMARY KEY (org, id),
    CHECK (json_extract(body, '$.id') = id AND json_extract(body, '$.org') = org)
) STRICT;
CREATE INDEX policies_created ON policies (org, created, id);
CREATE UNIQUE INDEX policies_name ON policies (org, name) WHERE state <> 'revoked';
CREATE INDEX policies_past ON policies (org, name) WHERE state = 'revoked';

-- Which application declares a host: one at most, so that a request is for one.
CREATE TABLE hosts (
    org  TEXT NOT NULL,
    host TEXT NOT NULL,
    app  TEXT NOT NULL,
    PRIMARY KEY (org, host)
) STRICT, WITHOUT ROWID;

-- Creates that were asked for with an idempotency key, and their answer.
CREATE TABLE idempotency (
    org          TEXT NOT NULL,
    actor        TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    response     TEXT NOT NULL,
    created      INTEGER NOT NULL,
    PRIMARY KEY (org, actor, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_created ON idempotency (org, created);

-- Search over uses and denials, written behind the ledger and rebuilt from it.
-- Texts that repeat are integers from names; org is the organization's number.
-- The indexes are bucketed: 65,536 entries of one organization share a prefix, so
-- that inserting touches pages at the edge and not all over the file.
CREATE TABLE names (
    n    INTEGER PRIMARY KEY,
    org  INTEGER NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (org, text)
) STRICT;
CREATE TABLE uses (
    at         INTEGER PRIMARY KEY,
    decision   TEXT NOT NULL,
    allow      INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    session    INTEGER NOT NULL,
    actor      INTEGER NOT NULL,
    credential INTEGER NOT NULL,
    grant_n    INTEGER NOT NULL,
    host       INTEGER NOT NULL,
    reason     INTEGER NOT NULL,
    method     INTEGER NOT NULL,
    path       TEXT NOT NULL,
    repeats    INTEGER NOT NULL DEFAULT 0,
    outcome    INTEGER NOT NULL DEFAULT 0,
    outcome_at INTEGER NOT NULL DEFAULT 0,
    status     INTEGER NOT NULL DEFAULT 0,
    millis     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX uses_decision ON uses (decision);
CREATE INDEX uses_actor ON uses ((at >> 16), actor, at);
CREATE INDEX uses_session ON uses ((at >> 16), session, at);
CREATE INDEX uses_credential ON uses ((at >> 16), credential, at);
CREATE INDEX uses_host ON uses ((at >> 16), host, at);
