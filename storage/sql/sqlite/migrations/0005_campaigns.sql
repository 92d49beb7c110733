-- The autodialer: campaigns, their phones and batches, what came of each try, whom nobody may call.

CREATE TABLE campaigns (
    portal TEXT NOT NULL,
    dialer TEXT NOT NULL,
    doc TEXT NOT NULL,               -- core.dialers.Campaign
    PRIMARY KEY (portal, dialer)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_batches (
    portal TEXT NOT NULL,
    id TEXT NOT NULL,
    dialer TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    accepted_at REAL,
    doc TEXT NOT NULL,               -- core.campaigns.Batch
    PRIMARY KEY (portal, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_batches_newest ON campaign_batches (portal, dialer, created_at, id);
CREATE INDEX campaign_batches_attention ON campaign_batches (portal, created_at)
    WHERE state IN ('doubt', 'refused');

CREATE TABLE campaign_phones (
    portal TEXT NOT NULL,
    id TEXT NOT NULL,                -- in the order of adding
    dialer TEXT NOT NULL,
    number TEXT NOT NULL,            -- E.164; of a refused one it may be the raw text
    record TEXT NOT NULL,            -- LEAD:1205 or empty
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    batch TEXT NOT NULL,             -- empty: none yet
    tries INTEGER NOT NULL,
    outcome TEXT,
    over INTEGER NOT NULL,
    added_at REAL NOT NULL,
    added_by INTEGER NOT NULL,
    changed_at REAL NOT NULL,
    PRIMARY KEY (portal, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_phones_order ON campaign_phones (portal, dialer, id);
CREATE INDEX campaign_phones_state ON campaign_phones (portal, dialer, state, outcome, id);
CREATE INDEX campaign_phones_number ON campaign_phones (portal, dialer, number, id);
CREATE INDEX campaign_phones_batch ON campaign_phones (portal, batch, id) WHERE batch <> '';
CREATE INDEX campaign_phones_unbatched ON campaign_phones (portal, dialer, id)
    WHERE batch = '' AND state = 'waiting';

CREATE TABLE campaign_tries (
    portal TEXT NOT NULL,
    call_id TEXT NOT NULL,           -- one call is one try
    dialer TEXT NOT NULL,
    phone TEXT NOT NULL,             -- empty: a number that we did not give the dialer
    outcome TEXT NOT NULL,
    ended_at REAL NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (portal, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_tries_phone ON campaign_tries (portal, phone, ended_at) WHERE phone <> '';
CREATE INDEX campaign_tries_seen ON campaign_tries (portal, seen_at);
CREATE INDEX campaign_tries_outcome ON campaign_tries (portal, dialer, outcome) WHERE phone <> '';

CREATE TABLE campaign_wishes (
    portal TEXT NOT NULL,
    id TEXT NOT NULL,
    dialer TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    doc TEXT NOT NULL,               -- core.wishes.Wish
    PRIMARY KEY (portal, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_wishes_newest ON campaign_wishes (portal, dialer, created_at, id);

CREATE TABLE do_not_call (
    portal TEXT NOT NULL,
    number TEXT NOT NULL,            -- E.164
    reason TEXT NOT NULL,
    by_user INTEGER NOT NULL,
    added_at REAL NOT NULL,
    PRIMARY KEY (portal, number)
) STRICT, WITHOUT ROWID;
