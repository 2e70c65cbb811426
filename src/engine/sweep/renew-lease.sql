-- name: renew-lease
-- args: $1 holder text, $2 pass bigint, $3 lease_ms float8
-- returns: pass bigint; no row once the lease is over, even if no other sweeper has taken it
UPDATE sweeper
SET until = clock_timestamp() + $3::float8 * interval '1 millisecond'
WHERE id = 1 AND holder = $1::text AND pass = $2::bigint AND until > clock_timestamp()
RETURNING pass
