-- part: job
id, portal, lane, key, kind, data, priority, state, due_at, created_at, needs, attempts, doubt, doubted_at,
expires_at, mutex, error, correlation_id

-- name: add
-- A key that the lane holds is not added again.
INSERT INTO jobs (portal, lane, key, kind, data, priority, exclusive, state, due_at, created_at, updated_at,
                  needs, expires_at, mutex, correlation_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, lane, key) DO NOTHING;

-- name: add_anew
-- The portal's own work: a key whose job is over starts from the beginning, an open one stays as it is.
INSERT INTO jobs (portal, lane, key, kind, data, priority, exclusive, state, due_at, created_at, updated_at,
                  needs, expires_at, mutex, correlation_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, lane, key) DO UPDATE SET
    kind = excluded.kind, data = excluded.data, priority = excluded.priority, exclusive = excluded.exclusive,
    state = excluded.state, due_at = excluded.due_at, created_at = excluded.created_at,
    updated_at = excluded.updated_at, needs = excluded.needs, expires_at = excluded.expires_at,
    mutex = excluded.mutex, attempts = 0, doubt = 0, doubted_at = NULL, lease_until = NULL, error = NULL
WHERE jobs.state IN ('done', 'cancelled');

-- name: unblock
-- Jobs of a lane whose needs are all done may go; a need that the lane does not hold is unmet.
UPDATE jobs INDEXED BY jobs_blocked SET state = 'waiting', updated_at = :now
WHERE portal = :portal AND lane = :lane AND state = 'blocked' AND NOT EXISTS (
    SELECT 1 FROM json_each(jobs.needs) AS need WHERE NOT EXISTS (
        SELECT 1 FROM jobs AS met INDEXED BY jobs_lane
        WHERE met.portal = :portal AND met.lane = :lane AND met.key = need.value AND met.state = 'done'
    )
);

-- name: cancel_kind
-- What has not begun: a try in flight or in doubt may have had its effect.
UPDATE jobs INDEXED BY jobs_lane SET state = 'cancelled', updated_at = ?
WHERE portal = ? AND lane = ? AND kind = ? AND state IN ('blocked', 'waiting', 'retrying') AND doubt = 0
RETURNING key;

-- name: cancel_dependants
-- Whatever needs a cancelled job, directly or through others, can never run.
WITH RECURSIVE doomed (key) AS (
    VALUES (:key)
    UNION
    SELECT jobs.key FROM doomed CROSS JOIN jobs INDEXED BY jobs_blocked CROSS JOIN json_each(jobs.needs) AS need
    WHERE jobs.portal = :portal AND jobs.lane = :lane AND jobs.state = 'blocked' AND need.value = doomed.key
)
UPDATE jobs INDEXED BY jobs_blocked SET state = 'cancelled', updated_at = :now
WHERE portal = :portal AND lane = :lane AND state = 'blocked' AND key IN (SELECT key FROM doomed);

-- name: one
SELECT {job} FROM jobs WHERE id = ?;

-- name: attempt
-- Written only for a job that is still there.
INSERT INTO attempts (portal, job_id, started_at, seconds, result, code, category, message, next_at)
SELECT portal, id, ?, ?, ?, ?, ?, ?, ? FROM jobs WHERE id = ? AND portal = ?;

-- name: done
-- Also for a job that was rescued meanwhile: the effect has happened. Not for one queued anew.
UPDATE jobs SET state = 'done', attempts = attempts + 1, updated_at = ?, lease_until = NULL, error = NULL
WHERE id = ? AND portal = ? AND created_at = ? AND state NOT IN ('done', 'cancelled');

-- name: reschedule
-- `attempts` is the fence: who lost the lease no longer decides when the job is tried again.
-- A doubt stays until the job is done: the earlier try may still have had its effect.
UPDATE jobs SET
    attempts = attempts + :counted, doubt = max(doubt, :doubt),
    doubted_at = CASE WHEN :doubt THEN :now ELSE doubted_at END,
    state = CASE WHEN :counted OR :doubt OR attempts OR doubt THEN 'retrying' ELSE 'waiting' END,
    due_at = :at, updated_at = :now, lease_until = NULL, error = :error
WHERE id = :id AND portal = :portal AND created_at = :created_at AND attempts = :attempts
    AND state NOT IN ('done', 'cancelled', 'blocked');

-- name: bury
UPDATE jobs SET state = 'attention', attempts = attempts + 1, updated_at = ?, lease_until = NULL, error = ?
WHERE id = ? AND portal = ? AND created_at = ? AND attempts = ? AND state NOT IN ('done', 'cancelled');

-- name: drop
UPDATE jobs SET state = 'cancelled', updated_at = ?, lease_until = NULL
WHERE id = ? AND portal = ? AND created_at = ? AND attempts = ? AND state NOT IN ('done', 'cancelled');

-- name: expire
UPDATE jobs SET state = 'cancelled', updated_at = ? WHERE id = ?;

-- name: next_priority
-- The next priority of a portal that has open jobs: claiming walks from one to the next.
SELECT priority FROM jobs INDEXED BY jobs_ready
WHERE portal = ? AND priority > ? AND state IN ('waiting', 'retrying')
ORDER BY priority LIMIT 1;

-- name: ready
-- Due jobs of one priority that nothing in flight holds back: no exclusive job of the lane, nobody with
-- the same mutex. A job in doubt holds its mutex too; among several in doubt the oldest does.
SELECT id, lane, key, exclusive, mutex, expires_at FROM jobs AS j INDEXED BY jobs_ready
WHERE portal = :portal AND priority = :priority AND due_at <= :now AND state IN ('waiting', 'retrying')
    AND kind NOT IN (SELECT value FROM json_each(:without))
    AND NOT (exclusive AND EXISTS (
        SELECT 1 FROM jobs AS f INDEXED BY jobs_flying
        WHERE f.portal = :portal AND f.lane = j.lane AND f.state = 'running' AND f.exclusive
    ))
    AND NOT (mutex IS NOT NULL AND EXISTS (
        SELECT 1 FROM jobs AS m INDEXED BY jobs_mutex
        WHERE m.portal = :portal AND m.mutex = j.mutex AND m.mutex IS NOT NULL
            AND m.state IN ('running', 'retrying')
            AND (m.state = 'running' OR (m.doubt AND (NOT j.doubt OR m.id < j.id)))
    ))
ORDER BY due_at, id;

-- name: lease
UPDATE jobs SET state = 'running', lease_until = ?, updated_at = ? WHERE id = ?
RETURNING {job};

-- name: rescued_attempts
-- The try that nobody came back from, for the job's history.
INSERT INTO attempts (portal, job_id, started_at, seconds, result, code, category, message, next_at)
SELECT portal, id, updated_at, max(0, :at - updated_at), 'doubt', 'LEASE_RAN_OUT', 'unknown',
    'The work on it was interrupted; a request may have left.', :at
FROM jobs INDEXED BY jobs_leased WHERE state = 'running' AND lease_until <= :now;

-- name: rescue
-- The vendor may work on a request for a minute after it left (bitrix24.md §5): only a live card, a
-- fetch that only reads, and a status that may be set twice, are looked into at once.
UPDATE jobs INDEXED BY jobs_leased SET state = 'retrying', doubt = 1, doubted_at = :at, attempts = attempts + 1,
    due_at = CASE WHEN priority = 0 OR kind IN ('fetch_recording', 'set_status') THEN :at
             ELSE max(:at, updated_at + :matures) END,
    updated_at = :at, lease_until = NULL
WHERE state = 'running' AND lease_until <= :now;

-- name: release
-- Certainly not begun: no count and no new doubt, but an older doubt stays.
UPDATE jobs SET state = CASE WHEN attempts OR doubt THEN 'retrying' ELSE 'waiting' END, lease_until = NULL
WHERE id = ? AND portal = ? AND created_at = ? AND attempts = ? AND state = 'running';

-- name: stop
-- What was in flight may have had its effect: should the portal come back, it is looked into first.
UPDATE jobs INDEXED BY jobs_state SET
    doubted_at = CASE WHEN state = 'running' THEN :now ELSE doubted_at END,
    doubt = CASE WHEN state = 'running' THEN 1 ELSE doubt END,
    state = 'cancelled', updated_at = :now, lease_until = NULL, error = :why
WHERE portal = :portal AND state IN ('blocked', 'waiting', 'retrying', 'running', 'attention');

-- name: revive_stopped
-- What an uninstallation cancelled; whether its needs are met is looked at afterwards.
UPDATE jobs INDEXED BY jobs_state SET state = 'blocked', updated_at = ?, due_at = ?, error = NULL
WHERE portal = ? AND state = 'cancelled' AND json_extract(error, '$.code') = 'STOPPED'
RETURNING lane;

-- name: due_portals
-- Portals with a due job, the longest waiting first; hops from portal to portal by the index.
WITH RECURSIVE hop (portal) AS (
    SELECT min(portal) FROM jobs INDEXED BY jobs_due WHERE state IN ('waiting', 'retrying')
    UNION ALL
    SELECT (SELECT min(j.portal) FROM jobs AS j INDEXED BY jobs_due
            WHERE j.portal > hop.portal AND j.state IN ('waiting', 'retrying'))
    FROM hop WHERE hop.portal IS NOT NULL
), first (portal, due_at) AS (
    SELECT portal, (SELECT j.due_at FROM jobs AS j INDEXED BY jobs_due
                    WHERE j.portal = hop.portal AND j.state IN ('waiting', 'retrying')
                    ORDER BY j.due_at LIMIT 1)
    FROM hop WHERE portal IS NOT NULL
)
SELECT portal FROM first WHERE due_at <= ? ORDER BY due_at, portal;

-- name: next_due
-- When the next job comes due, over all portals; NULL without open jobs.
WITH RECURSIVE hop (portal) AS (
    SELECT min(portal) FROM jobs INDEXED BY jobs_due WHERE state IN ('waiting', 'retrying')
    UNION ALL
    SELECT (SELECT min(j.portal) FROM jobs AS j INDEXED BY jobs_due
            WHERE j.portal > hop.portal AND j.state IN ('waiting', 'retrying'))
    FROM hop WHERE hop.portal IS NOT NULL
)
SELECT min((SELECT j.due_at FROM jobs AS j INDEXED BY jobs_due
            WHERE j.portal = hop.portal AND j.state IN ('waiting', 'retrying')
            ORDER BY j.due_at LIMIT 1))
FROM hop WHERE portal IS NOT NULL;

-- name: lane
SELECT {job} FROM jobs INDEXED BY jobs_lane WHERE portal = ? AND lane = ? ORDER BY id;

-- name: states_of
-- How one kind of step stands over many lanes (JSON list): a repair's progress.
SELECT jobs.state, count(*) FROM json_each(?) AS one CROSS JOIN jobs INDEXED BY jobs_lane
WHERE jobs.portal = ? AND jobs.lane = one.value AND jobs.key = ? GROUP BY jobs.state;

-- name: attempts
SELECT started_at, seconds, result, code, category, message, next_at FROM attempts
WHERE portal = ? AND job_id = ? ORDER BY id;

-- name: counts
SELECT state, count(*) FROM jobs INDEXED BY jobs_state WHERE portal = ? GROUP BY state;

-- name: erase
DELETE FROM jobs WHERE portal = ?;

-- name: erase_attempts
DELETE FROM attempts WHERE portal = ?;

-- name: wake
-- A later wake of the same reason replaces the earlier one.
INSERT INTO wakes (portal, lane, reason, at) VALUES (?, ?, ?, ?)
ON CONFLICT (portal, lane, reason) DO UPDATE SET at = excluded.at;

-- name: unwake
DELETE FROM wakes WHERE portal = ? AND lane = ? AND reason = ?;

-- name: take_wake
-- With its time, so that a wake that was moved meanwhile is not taken.
DELETE FROM wakes WHERE portal = ? AND lane = ? AND reason = ? AND at = ?;

-- name: due_wakes
SELECT portal, lane, reason, at FROM wakes WHERE at <= ? ORDER BY at LIMIT ?;

-- name: next_wake
SELECT at FROM wakes ORDER BY at LIMIT 1;

-- name: erase_wakes
DELETE FROM wakes WHERE portal = ?;
