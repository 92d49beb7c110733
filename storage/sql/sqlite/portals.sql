-- part: portal
member_id, domain, client_endpoint, auth_server, application_token, scope, status, state, state_reason,
state_since, language, license_family, app_code, version, rest_app_id, installed_by, unitalk_key, settings,
created_at, updated_at

-- part: pair
portal, user_id, access, refresh, expires_at, is_admin, refreshed_at, generation, dead

-- name: save
INSERT OR REPLACE INTO portals ({portal})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: one
SELECT {portal} FROM portals WHERE member_id = ?;

-- name: all
SELECT {portal} FROM portals ORDER BY created_at, member_id;

-- name: settings
SELECT settings FROM portals WHERE member_id = ?;

-- name: pairs
-- Living pairs: administrators first, the latest refreshed first.
SELECT {pair} FROM tokens WHERE portal = ? AND NOT dead
ORDER BY is_admin DESC, refreshed_at DESC, user_id;

-- name: keep_pair
-- A user's new pair replaces the old one and never has an older generation.
INSERT INTO tokens ({pair}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, user_id) DO UPDATE SET
    access = excluded.access, refresh = excluded.refresh, expires_at = excluded.expires_at,
    is_admin = excluded.is_admin, refreshed_at = excluded.refreshed_at, dead = excluded.dead,
    generation = max(excluded.generation, tokens.generation + 1);

-- name: thin_pairs
-- Of administrators the newest stay; a dead pair never pushes a living one out.
DELETE FROM tokens WHERE portal = :portal AND is_admin AND user_id NOT IN (
    SELECT user_id FROM tokens WHERE portal = :portal AND is_admin
    ORDER BY dead, refreshed_at DESC, user_id LIMIT :keep
);

-- name: swap_pair
-- Compare and swap: only who holds the latest generation may rotate it.
UPDATE tokens SET access = ?, refresh = ?, expires_at = ?, is_admin = ?, refreshed_at = ?,
    generation = max(?, generation + 1), dead = 0
WHERE portal = ? AND user_id = ? AND generation = ?;

-- name: kill_pair
-- A pair that was rotated meanwhile is another one and stays alive.
UPDATE tokens SET dead = 1 WHERE portal = ? AND user_id = ? AND generation = ?;

-- name: delete_pairs
DELETE FROM tokens WHERE portal = ?;

-- name: webhook_index
SELECT hash, portal, expires_at FROM webhook_tokens;

-- name: webhook_tokens
SELECT hash, token, created_at, expires_at, last_used_at, uses FROM webhook_tokens
WHERE portal = ? ORDER BY created_at DESC;

-- name: end_webhook_tokens
-- Earlier tokens end now or after the overlap, never later than they would have.
UPDATE webhook_tokens SET expires_at = min(coalesce(expires_at, :at), :at) WHERE portal = :portal;

-- name: add_webhook_token
INSERT INTO webhook_tokens (portal, hash, token, created_at, expires_at, last_used_at, uses)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, hash) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at;

-- name: count_uses
UPDATE webhook_tokens SET uses = uses + ?, last_used_at = max(coalesce(last_used_at, 0), ?)
WHERE portal = ? AND hash = ?;

-- name: prune_webhook_tokens
DELETE FROM webhook_tokens WHERE expires_at < ?;

-- name: erase_webhook_tokens
DELETE FROM webhook_tokens WHERE portal = ?;

-- name: save_snapshot
INSERT INTO snapshots (portal, kind, taken_at, items) VALUES (?, ?, ?, ?)
ON CONFLICT (portal, kind) DO UPDATE SET taken_at = excluded.taken_at, items = excluded.items;

-- name: snapshot
SELECT taken_at, items FROM snapshots WHERE portal = ? AND kind = ?;

-- name: erase_snapshots
DELETE FROM snapshots WHERE portal = ?;

-- name: save_level
INSERT INTO levels (portal, level, at, clean) VALUES (?, ?, ?, ?)
ON CONFLICT (portal) DO UPDATE SET level = excluded.level, at = excluded.at, clean = excluded.clean;

-- name: level
SELECT level, at, clean FROM levels WHERE portal = ?;

-- name: erase_level
DELETE FROM levels WHERE portal = ?;
