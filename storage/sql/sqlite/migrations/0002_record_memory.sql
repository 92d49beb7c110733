-- Which finished calls each CRM record has seen, and what was written for each of them.

CREATE TABLE record_memory (
    portal TEXT NOT NULL,
    record TEXT NOT NULL,            -- LEAD:1205
    call_id TEXT NOT NULL,
    ended_at REAL NOT NULL,
    doc TEXT NOT NULL,               -- core.record_memory.pack
    PRIMARY KEY (portal, record, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_memory_order ON record_memory (portal, record, ended_at, call_id);
