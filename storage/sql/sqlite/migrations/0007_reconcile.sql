-- The PBX's history against our calls, and our calls against Bitrix24's statistics.

-- Rows of the PBX's history as they were last seen; what stands in the ledger on the PBX's side.
CREATE TABLE history_rows (
    portal TEXT NOT NULL,
    key TEXT NOT NULL,               -- dbid:… or a hash of the row
    digest TEXT NOT NULL,            -- of its content
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    call_id TEXT,                    -- the call of ours that it is
    how TEXT NOT NULL,               -- core.history.How
    doc TEXT NOT NULL,               -- core.history.pack
    PRIMARY KEY (portal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_rows_start ON history_rows (portal, started_at);
CREATE INDEX history_rows_settled ON history_rows (portal, digest)
    WHERE how IN ('matched', 'filled', 'created');
CREATE INDEX history_rows_call ON history_rows (portal, call_id) WHERE call_id IS NOT NULL;
CREATE INDEX history_rows_mended ON history_rows (portal, ended_at) WHERE how IN ('filled', 'created', 'failed');

-- The ledger asks for calls by their start, the comparison for those that were not compared yet.
CREATE INDEX calls_start ON calls (portal, started_at);

-- When a call was last compared with Bitrix24's statistics.
CREATE TABLE compared_calls (
    portal TEXT NOT NULL,
    call_id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (portal, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX compared_calls_time ON compared_calls (portal, at);

-- What differs between the PBX, us and Bitrix24, with cause and who must act.
CREATE TABLE differences (
    portal TEXT NOT NULL,
    call_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,             -- open, mended or gone
    found_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    doc TEXT NOT NULL,               -- core.comparison.pack
    PRIMARY KEY (portal, call_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX differences_state ON differences (portal, state, found_at);

-- Times in which events of the PBX did not reach us.
CREATE TABLE outages (
    portal TEXT NOT NULL,
    began_at REAL NOT NULL,
    kind TEXT NOT NULL,              -- core.outage.Kind
    told INTEGER NOT NULL,           -- whether people were told how it ended
    doc TEXT NOT NULL,               -- core.outage.pack
    PRIMARY KEY (portal, began_at, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX outages_open ON outages (portal) WHERE told = 0;

-- One row per process of ours: when it last lived.
CREATE TABLE heartbeats (
    name TEXT NOT NULL PRIMARY KEY,
    at REAL NOT NULL
) STRICT;

-- Ledgers as they lie on Drive.
CREATE TABLE filed_ledgers (
    portal TEXT NOT NULL,
    day TEXT NOT NULL,               -- YYYY-MM-DD in the PBX's zone
    digest TEXT NOT NULL,
    file_id INTEGER NOT NULL,
    filed_at REAL NOT NULL,
    PRIMARY KEY (portal, day)
) STRICT, WITHOUT ROWID;
