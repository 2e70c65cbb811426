-- name: record-progress
-- args: $1 worker text, $2 ids uuid[], $3 attempts int[], $4 progress json[]
-- returns: nothing; rows that the worker no longer processes do not change
-- `= ANY (ARRAY[…])` makes PostgreSQL find rows by their primary key instead of reading whole days (see settle).
UPDATE tasks t
SET progress = i.progress
FROM unnest($2::uuid[], $3::int[], $4::json[]) AS i (id, attempt, progress)
WHERE t.id = ANY (ARRAY[i.id]) AND t.attempt = ANY (ARRAY[i.attempt]) AND t.worker_id = $1::text AND t.status = 'PROCESSING'
