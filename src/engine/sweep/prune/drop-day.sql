-- name: drop-day
-- args: $1 holder text, $2 pass bigint, $3 day date, $4 most int
-- returns: moved int: number of tasks that must stay, and were moved to the default partitions; null if nothing was
--          dropped, because a lock could not be taken, too much would have to be moved, or the day is not surveyed;
--          no row once the lease is over.
SELECT drop_partitions_of(d.day, d.surveyed_since, d.staying, $4::int) AS moved
FROM past_days d
WHERE d.day = $3::date AND d.surveyed_to IS NOT NULL
  AND EXISTS (SELECT FROM sweeper s WHERE s.id = 1 AND s.holder = $1::text AND s.pass = $2::bigint AND s.until > clock_timestamp())
