-- name: save
INSERT INTO intents (portal, id, kind, state, number, agent, due_at, created_at, updated_at, doc)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, id) DO UPDATE SET
    kind = excluded.kind, state = excluded.state, number = excluded.number, agent = excluded.agent,
    due_at = excluded.due_at, updated_at = excluded.updated_at, doc = excluded.doc;

-- name: one
SELECT doc FROM intents WHERE portal = ? AND id = ?;

-- name: open_of
-- Open entries of a client, the oldest first.
SELECT doc FROM intents INDEXED BY intents_client
WHERE portal = ? AND number = ? AND state IN ('waiting', 'running', 'retrying', 'attention')
ORDER BY created_at, id;

-- name: page
-- One state of the list, the newest first; an agent sees his own and whoever's.
SELECT doc FROM intents INDEXED BY intents_state
WHERE portal = :portal AND state = :state AND (created_at, id) < (:at, :id)
    AND (:kind IS NULL OR kind = :kind)
    AND (:number IS NULL OR instr(number, :number) > 0)
    AND (:mine IS NULL OR agent IS NULL OR agent = :mine)
    AND (:agent IS NULL OR agent = :agent)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: counts
SELECT state, count(*) FROM intents INDEXED BY intents_state
WHERE portal = :portal AND (:mine IS NULL OR agent IS NULL OR agent = :mine) GROUP BY state;

-- name: erase
DELETE FROM intents WHERE portal = ?;
