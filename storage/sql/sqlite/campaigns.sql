-- part: phone
id, dialer, number, record, state, reason, batch, tries, outcome, over, added_at, added_by, changed_at

-- part: one_try
call_id, dialer, phone, outcome, ended_at

-- name: campaign
SELECT doc FROM campaigns WHERE portal = ? AND dialer = ?;

-- name: campaigns
SELECT doc FROM campaigns WHERE portal = ? ORDER BY dialer;

-- name: save_campaign
INSERT INTO campaigns (portal, dialer, doc) VALUES (?, ?, ?)
ON CONFLICT (portal, dialer) DO UPDATE SET doc = excluded.doc;

-- name: save_phone
INSERT INTO campaign_phones (portal, id, dialer, number, record, state, reason, batch, tries, outcome, over,
                             added_at, added_by, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, id) DO UPDATE SET
    state = excluded.state, reason = excluded.reason, batch = excluded.batch, tries = excluded.tries,
    outcome = excluded.outcome, over = excluded.over, changed_at = excluded.changed_at;

-- name: phone
SELECT {phone} FROM campaign_phones WHERE portal = ? AND id = ?;

-- name: by_number
SELECT {phone} FROM campaign_phones INDEXED BY campaign_phones_number
WHERE portal = ? AND dialer = ? AND number = ? AND state <> 'refused' ORDER BY id DESC LIMIT 20;

-- name: open_numbers
-- Those of the numbers that an open entry of the campaign has.
SELECT DISTINCT p.number FROM json_each(?) AS one
CROSS JOIN campaign_phones AS p INDEXED BY campaign_phones_number
WHERE p.portal = ? AND p.dialer = ? AND p.number = one.value AND p.state IN ('waiting', 'sending', 'sent', 'attention');

-- name: fill_batch
-- The oldest phones that wait for a batch.
UPDATE campaign_phones SET batch = :batch WHERE portal = :portal AND id IN (
    SELECT id FROM campaign_phones INDEXED BY campaign_phones_unbatched
    WHERE portal = :portal AND dialer = :dialer AND batch = '' AND state = 'waiting' ORDER BY id LIMIT :most
);

-- name: unbatched
SELECT COUNT(*) FROM campaign_phones INDEXED BY campaign_phones_unbatched
WHERE portal = ? AND dialer = ? AND batch = '' AND state = 'waiting';

-- name: batch
SELECT doc FROM campaign_batches WHERE portal = ? AND id = ?;

-- name: save_batch
INSERT INTO campaign_batches (portal, id, dialer, state, created_at, accepted_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, id) DO UPDATE SET
    state = excluded.state, accepted_at = excluded.accepted_at, doc = excluded.doc;

-- name: batches
SELECT doc FROM campaign_batches INDEXED BY campaign_batches_newest
WHERE portal = ? AND dialer = ? ORDER BY created_at DESC, id DESC LIMIT ?;

-- name: batches_in_attention
SELECT doc FROM campaign_batches INDEXED BY campaign_batches_attention
WHERE portal = ? AND state IN ('doubt', 'refused') ORDER BY created_at DESC LIMIT ?;

-- name: batch_phones
SELECT {phone} FROM campaign_phones INDEXED BY campaign_phones_batch
WHERE portal = ? AND batch = ? AND batch <> '' ORDER BY id;

-- name: sent_before
SELECT {phone} FROM campaign_phones INDEXED BY campaign_phones_state
WHERE portal = :portal AND dialer = :dialer AND state = 'sent' AND (
    SELECT accepted_at FROM campaign_batches WHERE portal = :portal AND campaign_batches.id = campaign_phones.batch
) <= :at
LIMIT :most;

-- name: save_try
INSERT INTO campaign_tries (portal, call_id, dialer, phone, outcome, ended_at, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, call_id) DO UPDATE SET
    dialer = excluded.dialer, phone = excluded.phone, outcome = excluded.outcome, ended_at = excluded.ended_at;

-- name: tries_of
SELECT {one_try} FROM campaign_tries INDEXED BY campaign_tries_phone
WHERE portal = ? AND phone = ? AND phone <> '' ORDER BY ended_at, call_id;

-- name: tries_since
SELECT COUNT(*) FROM campaign_tries INDEXED BY campaign_tries_seen WHERE portal = ? AND seen_at > ?;

-- name: tries_by_outcome
SELECT outcome, COUNT(*) FROM campaign_tries INDEXED BY campaign_tries_outcome
WHERE portal = ? AND dialer = ? AND phone <> '' GROUP BY outcome;

-- name: progress
SELECT state, COALESCE(outcome, ''), COUNT(*) FROM campaign_phones INDEXED BY campaign_phones_state
WHERE portal = ? AND dialer = ? GROUP BY state, outcome;

-- name: phones
SELECT {phone} FROM campaign_phones INDEXED BY campaign_phones_order
WHERE portal = ? AND dialer = ? AND id > ? ORDER BY id LIMIT ?;

-- name: phones_in
SELECT {phone} FROM campaign_phones INDEXED BY campaign_phones_state
WHERE portal = ? AND dialer = ? AND state = ? AND id > ? ORDER BY id LIMIT ?;

-- name: wish
SELECT doc FROM campaign_wishes WHERE portal = ? AND id = ?;

-- name: save_wish
INSERT INTO campaign_wishes (portal, id, dialer, state, created_at, doc) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (portal, id) DO UPDATE SET state = excluded.state, doc = excluded.doc;

-- name: wishes
SELECT doc FROM campaign_wishes INDEXED BY campaign_wishes_newest
WHERE portal = ? AND dialer = ? ORDER BY created_at DESC, id DESC LIMIT ?;

-- name: open_wishes
SELECT COUNT(*) FROM campaign_wishes INDEXED BY campaign_wishes_newest
WHERE portal = ? AND dialer = ? AND state = 'pending';

-- name: forbid
INSERT INTO do_not_call (portal, number, reason, by_user, added_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (portal, number) DO UPDATE SET
    reason = excluded.reason, by_user = excluded.by_user, added_at = excluded.added_at;

-- name: allow
DELETE FROM do_not_call WHERE portal = ? AND number = ?;

-- name: forbidden
SELECT list.number FROM json_each(?) AS one CROSS JOIN do_not_call AS list
WHERE list.portal = ? AND list.number = one.value;

-- name: do_not_call
SELECT number, reason, by_user, added_at FROM do_not_call
WHERE portal = ? AND number > ? ORDER BY number LIMIT ?;

-- name: erase
DELETE FROM campaigns WHERE portal = ?;

-- name: erase_batches
DELETE FROM campaign_batches WHERE portal = ?;

-- name: erase_phones
DELETE FROM campaign_phones WHERE portal = ?;

-- name: erase_tries
DELETE FROM campaign_tries WHERE portal = ?;

-- name: erase_wishes
DELETE FROM campaign_wishes WHERE portal = ?;

-- name: erase_do_not_call
DELETE FROM do_not_call WHERE portal = ?;
