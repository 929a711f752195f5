-- +goose Up

-- Times are UTC text of fixed width (see stamp in encode.go), so they sort as text; "" is no time.
-- Columns named *_json hold JSON. A PostgreSQL twin changes BLOB to BYTEA and nothing else.

CREATE TABLE runs (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    branch       TEXT NOT NULL,
    commit_id    TEXT NOT NULL,
    trigger_name TEXT NOT NULL,
    actor        TEXT NOT NULL,
    state        TEXT NOT NULL,
    verdict      TEXT NOT NULL,
    reason       TEXT NOT NULL,
    base         TEXT NOT NULL,
    set_id       TEXT NOT NULL,
    options_json TEXT NOT NULL,
    created      TEXT NOT NULL,
    started      TEXT NOT NULL,
    finished     TEXT NOT NULL
);
CREATE INDEX runs_by_state ON runs (state, created);
CREATE INDEX runs_by_branch ON runs (branch, created);

CREATE TABLE stages (
    run      TEXT NOT NULL REFERENCES runs (id),
    path     TEXT NOT NULL,
    state    TEXT NOT NULL,
    verdict  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    started  TEXT NOT NULL,
    finished TEXT NOT NULL,
    PRIMARY KEY (run, path)
);

CREATE TABLE results (
    run         TEXT NOT NULL REFERENCES runs (id),
    scenario    TEXT NOT NULL,
    origin      TEXT NOT NULL,
    phase       TEXT NOT NULL,
    tier        TEXT NOT NULL,
    suite       TEXT NOT NULL,
    test        TEXT NOT NULL,
    server      TEXT NOT NULL,
    attempt     BIGINT NOT NULL,
    outcome     TEXT NOT NULL,
    cause       TEXT NOT NULL,
    message     TEXT NOT NULL,
    lines       TEXT NOT NULL,
    ticket      TEXT NOT NULL,
    duration_ns BIGINT NOT NULL,
    recorded    TEXT NOT NULL,
    PRIMARY KEY (run, scenario, origin, phase, tier, suite, test, server, attempt)
);
CREATE INDEX results_by_test ON results (tier, suite, test, recorded);

CREATE TABLE images (
    id            TEXT PRIMARY KEY,
    run           TEXT NOT NULL REFERENCES runs (id),
    role          TEXT NOT NULL,
    branch        TEXT NOT NULL,
    commit_id     TEXT NOT NULL,
    base_digest   TEXT NOT NULL,
    provider      TEXT NOT NULL,
    provider_id   TEXT NOT NULL,
    digest        TEXT NOT NULL,
    size_bytes    BIGINT NOT NULL,
    packages_json TEXT NOT NULL,
    puppet_report TEXT NOT NULL,
    timings_json  TEXT NOT NULL,
    created       TEXT NOT NULL,
    deleted       TEXT NOT NULL
);
CREATE INDEX images_by_run ON images (run);

CREATE TABLE image_sets (
    id          TEXT PRIMARY KEY,
    run         TEXT NOT NULL REFERENCES runs (id),
    branch      TEXT NOT NULL,
    commit_id   TEXT NOT NULL,
    images_json TEXT NOT NULL,
    digest      TEXT NOT NULL,
    revoked     TEXT NOT NULL,
    created     TEXT NOT NULL
);
CREATE INDEX image_sets_by_branch ON image_sets (branch, created);

CREATE TABLE evidence (
    set_id    TEXT NOT NULL REFERENCES image_sets (id),
    run       TEXT NOT NULL REFERENCES runs (id),
    statement BLOB NOT NULL,
    created   TEXT NOT NULL,
    PRIMARY KEY (set_id, run)
);

CREATE TABLE channels (
    name    TEXT PRIMARY KEY,
    set_id  TEXT NOT NULL,
    version BIGINT NOT NULL,
    moved   TEXT NOT NULL
);

CREATE TABLE moves (
    channel  TEXT NOT NULL REFERENCES channels (name),
    version  BIGINT NOT NULL,
    from_set TEXT NOT NULL,
    to_set   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    actor    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    run      TEXT NOT NULL,
    at       TEXT NOT NULL,
    PRIMARY KEY (channel, version)
);
-- One run promotes one set into one channel once, however often its step is repeated.
CREATE UNIQUE INDEX moves_once ON moves (channel, run, to_set) WHERE kind = 'promote' AND run <> '';

CREATE TABLE environments (
    id       TEXT PRIMARY KEY,
    run      TEXT NOT NULL,
    name     TEXT NOT NULL,
    state    TEXT NOT NULL,
    keep     BIGINT NOT NULL,
    lease    TEXT NOT NULL,
    deadline TEXT NOT NULL,
    created  TEXT NOT NULL,
    body     BLOB NOT NULL,
    sealed   BLOB NOT NULL
);
CREATE INDEX environments_by_state ON environments (state);

CREATE TABLE ticks (
    schedule  TEXT PRIMARY KEY,
    last_tick TEXT NOT NULL,
    paused    BIGINT NOT NULL
);

-- +goose Down
DROP TABLE ticks;
DROP TABLE environments;
DROP TABLE moves;
DROP TABLE channels;
DROP TABLE evidence;
DROP TABLE image_sets;
DROP TABLE images;
DROP TABLE results;
DROP TABLE stages;
DROP TABLE runs;
