-- The first shape of the store. The portal (member_id) leads every unique key.
-- Times are unix seconds. JSON stands where the core owns the shape of the data.

CREATE TABLE portals (
    member_id TEXT NOT NULL PRIMARY KEY,
    domain TEXT NOT NULL,
    client_endpoint TEXT NOT NULL,
    auth_server TEXT NOT NULL,
    application_token BLOB,          -- sealed
    scope TEXT NOT NULL,             -- JSON list
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT NOT NULL,
    state_since REAL NOT NULL,
    language TEXT NOT NULL,
    license_family TEXT NOT NULL,
    app_code TEXT NOT NULL,
    version TEXT NOT NULL,
    rest_app_id TEXT NOT NULL,
    installed_by INTEGER,
    unitalk_key BLOB,                -- sealed
    settings TEXT NOT NULL,          -- JSON; only what differs from the defaults
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

CREATE TABLE tokens (
    portal TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    access BLOB NOT NULL,            -- sealed
    refresh BLOB NOT NULL,           -- sealed
    expires_at REAL NOT NULL,
    is_admin INTEGER NOT NULL,
    refreshed_at REAL NOT NULL,
    generation INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    PRIMARY KEY (portal, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_tokens (
    portal TEXT NOT NULL,
    hash BLOB NOT NULL,              -- keyed, for look-up
    token BLOB NOT NULL,             -- sealed, for display
    created_at REAL NOT NULL,
    expires_at REAL,
    last_used_at REAL,
    uses INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (portal, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    portal TEXT NOT NULL,
    source TEXT NOT NULL,
    digest TEXT NOT NULL,
    body BLOB NOT NULL,
    received_at REAL NOT NULL,
    content_type TEXT NOT NULL,
    ev TEXT NOT NULL,
    state TEXT NOT NULL,
    call_id TEXT,
    error TEXT,
    correlation_id TEXT NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0,
    UNIQUE (portal, digest)
) STRICT;
CREATE INDEX receipts_time ON receipts (portal, received_at);
-- What a person may want to see: nearly all receipts are applied, so they need no index of their own.
CREATE INDEX receipts_odd ON receipts (portal, state, received_at) WHERE state <> 'applied';

CREATE TABLE calls (
    portal TEXT NOT NULL,
    id TEXT NOT NULL,
    pbx_id TEXT,
    pbx_dbid TEXT,
    number TEXT,                     -- digits only
    bitrix_call_id TEXT,
    phase TEXT NOT NULL,
    started_at REAL NOT NULL,
    first_seen_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    doc TEXT NOT NULL,               -- core.call.pack
    UNIQUE (portal, id)
) STRICT;
CREATE INDEX calls_pbx_id ON calls (portal, pbx_id) WHERE pbx_id IS NOT NULL;
CREATE INDEX calls_pbx_dbid ON calls (portal, pbx_dbid) WHERE pbx_dbid IS NOT NULL;
CREATE INDEX calls_bitrix_id ON calls (portal, bitrix_call_id) WHERE bitrix_call_id IS NOT NULL;
CREATE INDEX calls_unnamed ON calls (portal, number, first_seen_at)
    WHERE bitrix_call_id IS NULL AND number IS NOT NULL;
CREATE INDEX calls_time ON calls (portal, first_seen_at, id);

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    portal TEXT NOT NULL,
    lane TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,              -- core.commands.pack
    priority INTEGER NOT NULL,
    exclusive INTEGER NOT NULL,
    state TEXT NOT NULL,
    due_at REAL NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    needs TEXT NOT NULL,             -- JSON list of keys of the lane
    attempts INTEGER NOT NULL DEFAULT 0,
    doubt INTEGER NOT NULL DEFAULT 0,
    doubted_at REAL,
    expires_at REAL,
    mutex TEXT,
    lease_until REAL,
    error TEXT,                      -- JSON of core.jobs.JobError
    correlation_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX jobs_lane ON jobs (portal, lane, key);
-- Partial, so that millions of finished jobs cost a claim nothing. The queries name their index: without
-- statistics SQLite would prefer jobs_state, which has more equal columns and far more rows.
CREATE INDEX jobs_ready ON jobs (portal, priority, due_at, id) WHERE state IN ('waiting', 'retrying');
CREATE INDEX jobs_due ON jobs (portal, due_at) WHERE state IN ('waiting', 'retrying');
CREATE INDEX jobs_blocked ON jobs (portal, lane) WHERE state = 'blocked';
CREATE INDEX jobs_flying ON jobs (portal, lane) WHERE state = 'running';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_mutex ON jobs (portal, mutex) WHERE mutex IS NOT NULL AND state IN ('running', 'retrying');
CREATE INDEX jobs_state ON jobs (portal, state);

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    portal TEXT NOT NULL,
    job_id INTEGER NOT NULL,
    started_at REAL NOT NULL,
    seconds REAL NOT NULL,
    result TEXT NOT NULL,
    code TEXT NOT NULL,
    category TEXT NOT NULL,
    message TEXT NOT NULL,
    next_at REAL
) STRICT;
CREATE INDEX attempts_job ON attempts (portal, job_id);

CREATE TABLE wakes (
    portal TEXT NOT NULL,
    lane TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (portal, lane, reason)
) STRICT, WITHOUT ROWID;
CREATE INDEX wakes_at ON wakes (at);

CREATE TABLE snapshots (
    portal TEXT NOT NULL,
    kind TEXT NOT NULL,
    taken_at REAL NOT NULL,
    items TEXT NOT NULL,             -- JSON list
    PRIMARY KEY (portal, kind)
) STRICT;

CREATE TABLE levels (
    portal TEXT NOT NULL PRIMARY KEY,
    level REAL NOT NULL,
    at REAL NOT NULL,
    clean INTEGER NOT NULL
) STRICT;

CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    portal TEXT NOT NULL,
    platform TEXT NOT NULL,
    operation TEXT NOT NULL,
    at REAL NOT NULL,
    seconds REAL NOT NULL,
    status INTEGER,
    code TEXT NOT NULL,
    request TEXT NOT NULL,           -- masked before it comes here
    answer TEXT NOT NULL,            -- masked before it comes here
    correlation_id TEXT NOT NULL
) STRICT;
CREATE INDEX requests_time ON requests (portal, at);

-- One row that health checks rewrite to learn whether the store can be written again.
CREATE TABLE probe (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    at REAL NOT NULL
) STRICT;
