-- Calls that a default user has because nobody had the extension, and the repairs that move them.

ALTER TABLE calls ADD COLUMN unmatched TEXT;  -- the extension, of written calls only

-- Earlier versions said it of the registering extension alone.
UPDATE calls SET
    unmatched = json_extract(doc, '$.register_extension'),
    doc = json_set(doc, '$.unmatched', json_extract(doc, '$.register_extension'))
WHERE json_extract(doc, '$.matched') = 0 AND json_extract(doc, '$.finished') = 1
    AND json_extract(doc, '$.register_extension') IS NOT NULL;

CREATE INDEX calls_unmatched ON calls (portal, unmatched, first_seen_at, id) WHERE unmatched IS NOT NULL;

CREATE TABLE repairs (
    portal TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at REAL NOT NULL,
    doc TEXT NOT NULL,               -- core.repair.pack
    PRIMARY KEY (portal, id)
) STRICT, WITHOUT ROWID;
