-- +goose Up
-- Who holds the database: the server that opened it last. Every batch reads it,
-- so a server that lost its lock cannot commit once another has taken over.
CREATE TABLE holder (
    one   BIGINT PRIMARY KEY CHECK (one = 1),
    token TEXT COLLATE "C" NOT NULL
);

-- The head of each organization's log; the row that every batch locks.
-- indexed is the watermark of uses: entries below it are there.
CREATE TABLE log_head (
    org         TEXT COLLATE "C" PRIMARY KEY,
    number      BIGINT NOT NULL UNIQUE,
    incarnation BIGINT NOT NULL,
    size        BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    last_change BIGINT NOT NULL,
    time        BIGINT NOT NULL,
    frontier    BYTEA NOT NULL,
    indexed     BIGINT NOT NULL DEFAULT 0
);

-- at is the organization's number << 40 | seq: one integer key, in the order of
-- the log, without an index beside it.
CREATE TABLE entries (
    at   BIGINT PRIMARY KEY,
    leaf BYTEA NOT NULL,
    pack BYTEA NOT NULL
);

-- Which entries are changes of authority, so that loading need not read the uses.
CREATE TABLE changes (
    at BIGINT PRIMARY KEY
);

-- Full C2SP tiles; org is the organization's number here.
CREATE TABLE nodes (
    org    BIGINT NOT NULL,
    level  BIGINT NOT NULL,
    idx    BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (org, level, idx)
);

CREATE TABLE grant_uses (
    org      TEXT COLLATE "C" NOT NULL,
    grant_id TEXT COLLATE "C" NOT NULL,
    remaining BIGINT NOT NULL,
    PRIMARY KEY (org, grant_id)
);

-- The signed checkpoints that were made, the newest size last.
CREATE TABLE checkpoints (
    org  TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    note BYTEA NOT NULL,
    PRIMARY KEY (org, size)
);

-- Nouns. body is the canonical JSON that the entry entry_seq commits to; every
-- other column is derived from it and cannot disagree (invariant 12).
CREATE TABLE orgs (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    name TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'name')) STORED,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'id') = org)
);
CREATE INDEX orgs_created ON orgs (org, created, id);
CREATE UNIQUE INDEX orgs_name ON orgs (name) WHERE state <> 'revoked';

CREATE TABLE identities (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    kind TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'kind')) STORED,
    name TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'name')) STORED,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    expires TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'expires')) STORED,
    owner TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'owner')) STORED,
    backup TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'backup')) STORED,
    parent TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'parent')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX identities_created ON identities (org, created, id);
CREATE UNIQUE INDEX identities_name ON identities (org, name) WHERE state <> 'revoked';
CREATE INDEX identities_past ON identities (org, name) WHERE state = 'revoked';
CREATE INDEX identities_owner ON identities (org, owner) WHERE owner IS NOT NULL;
CREATE INDEX identities_parent ON identities (org, parent) WHERE parent IS NOT NULL;

CREATE TABLE applications (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    name TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'name')) STORED,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    env TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'env')) STORED,
    owner TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'owner')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX applications_created ON applications (org, created, id);
CREATE UNIQUE INDEX applications_name ON applications (org, name) WHERE state <> 'revoked';
CREATE INDEX applications_past ON applications (org, name) WHERE state = 'revoked';

CREATE TABLE credentials (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    name TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'name')) STORED,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    expires TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'expires')) STORED,
    app TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'app')) STORED,
    owner TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'owner')) STORED,
    backup TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'backup')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX credentials_created ON credentials (org, created, id);
CREATE UNIQUE INDEX credentials_name ON credentials (org, name) WHERE state <> 'revoked';
CREATE INDEX credentials_past ON credentials (org, name) WHERE state = 'revoked';
CREATE INDEX credentials_app ON credentials (org, app);
CREATE INDEX credentials_owner ON credentials (org, owner) WHERE owner IS NOT NULL;

CREATE TABLE versions (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    credential TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'credential')) STORED,
    fingerprint TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'fingerprint')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX versions_created ON versions (org, created, id);
CREATE INDEX versions_credential ON versions (org, credential);

CREATE TABLE grants (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    expires TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'expires')) STORED,
    identity TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'identity')) STORED,
    credential TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'credential')) STORED,
    parent TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'parent')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX grants_created ON grants (org, created, id);
CREATE INDEX grants_identity ON grants (org, identity);
CREATE INDEX grants_credential ON grants (org, credential);
CREATE INDEX grants_parent ON grants (org, parent) WHERE parent IS NOT NULL;

CREATE TABLE sessions (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    expires TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'expires')) STORED,
    identity TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'identity')) STORED,
    started TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'started')) STORED,
    parent TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'parent')) STORED,
    hash TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'hash')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX sessions_created ON sessions (org, created, id);
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_identity ON sessions (org, identity) WHERE state = 'active';
CREATE INDEX sessions_started ON sessions (org, started) WHERE state = 'active';
CREATE INDEX sessions_parent ON sessions (org, parent) WHERE parent IS NOT NULL;

CREATE TABLE keys (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    name TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'name')) STORED,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    expires TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'expires')) STORED,
    identity TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'identity')) STORED,
    hash TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'hash')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX keys_created ON keys (org, created, id);
CREATE UNIQUE INDEX keys_name ON keys (org, name) WHERE state <> 'revoked';
CREATE INDEX keys_past ON keys (org, name) WHERE state = 'revoked';
CREATE UNIQUE INDEX keys_hash ON keys (hash);
CREATE INDEX keys_identity ON keys (org, identity);

CREATE TABLE policies (
    org TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    entry_seq BIGINT NOT NULL,
    entry_digest BYTEA NOT NULL,
    name TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'name')) STORED,
    state TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'state')) STORED,
    created TEXT COLLATE "C" GENERATED ALWAYS AS ((body::jsonb ->> 'created')) STORED,
    PRIMARY KEY (org, id),
    CHECK ((body::jsonb ->> 'id') = id AND (body::jsonb ->> 'org') = org)
);
CREATE INDEX policies_created ON policies (org, created, id);
CREATE UNIQUE INDEX policies_name ON policies (org, name) WHERE state <> 'revoked';
CREATE INDEX policies_past ON policies (org, name) WHERE state = 'revoked';

-- Which application declares a host: one at most, so that a request is for one.
CREATE TABLE hosts (
    org  TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    app  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (org, host)
);

-- Creates that were asked for with an idempotency key, and their answer.
CREATE TABLE idempotency (
    org          TEXT COLLATE "C" NOT NULL,
    actor        TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA NOT NULL,
    response     TEXT NOT NULL,
    created      BIGINT NOT NULL,
    PRIMARY KEY (org, actor, key)
);
CREATE INDEX idempotency_created ON idempotency (org, created);

-- Search over uses and denials, written behind the ledger and rebuilt from it.
-- Texts that repeat are integers from names; org is the organization's number.
-- The indexes are bucketed: 65,536 entries of one organization share a prefix, so
-- that inserting touches pages at the edge and not all over the file.
CREATE TABLE names (
    n    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org  BIGINT NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    UNIQUE (org, text)
);
CREATE TABLE uses (
    at         BIGINT PRIMARY KEY,
    decision   TEXT COLLATE "C" NOT NULL,
    allow      BIGINT NOT NULL,
    time       BIGINT NOT NULL,
    session    BIGINT NOT NULL,
    actor      BIGINT NOT NULL,
    credential BIGINT NOT NULL,
    grant_n    BIGINT NOT NULL,
    host       BIGINT NOT NULL,
    reason     BIGINT NOT NULL,
    method     BIGINT NOT NULL,
    path       TEXT COLLATE "C" NOT NULL,
    repeats    BIGINT NOT NULL DEFAULT 0,
    outcome    BIGINT NOT NULL DEFAULT 0,
    outcome_at BIGINT NOT NULL DEFAULT 0,
    status     BIGINT NOT NULL DEFAULT 0,
    millis     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX uses_decision ON uses (decision);
CREATE INDEX uses_actor ON uses ((at >> 16), actor, at);
CREATE INDEX uses_session ON uses ((at >> 16), session, at);
CREATE INDEX uses_credential ON uses ((at >> 16), credential, at);
CREATE INDEX uses_host ON uses ((at >> 16), host, at);
