-- Calls that somebody wants made: failed call starts and missed clients of the retry list.

CREATE TABLE intents (
    portal TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    number TEXT,                     -- digits only
    agent INTEGER,                   -- the user who is to call, NULL for whoever is free
    due_at REAL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    doc TEXT NOT NULL,               -- core.intent.pack
    PRIMARY KEY (portal, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX intents_client ON intents (portal, number)
    WHERE number IS NOT NULL AND state IN ('waiting', 'running', 'retrying', 'attention');
CREATE INDEX intents_state ON intents (portal, state, created_at, id);

-- Every outgoing call and every missed one asks for the client's other calls, so the index is whole now.
DROP INDEX calls_unnamed;
CREATE INDEX calls_client ON calls (portal, number, first_seen_at) WHERE number IS NOT NULL;
