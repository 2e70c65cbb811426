-- name: note-day
-- args: $1 holder text, $2 pass bigint, $3 day date, $4 held int (tasks that must stay; null: unknown), $5 pause_ms float8
-- returns: nothing
-- Notes that a past day has to be looked at again after a pause, and that it has to be surveyed anew before it is dropped.
UPDATE past_days
SET looked_at = now(),
    look_again_at = now() + $5::float8 * interval '1 millisecond',
    held = $4::int,
    lasting = $4::int,
    surveyed_to = NULL,
    staying = '{}'
WHERE day = $3::date
  AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
