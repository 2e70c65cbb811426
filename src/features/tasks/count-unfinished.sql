-- name: count-unfinished
-- args: $1 client text, $2 most int
-- returns: count int: unfinished tasks that count for the quota of the client, counted up to $2
-- A range with an order, because only the index of these tasks has that order: PostgreSQL would rather read the whole table
-- for an equality if it believed that many tasks match.
SELECT count(*)::int AS count
FROM (
  SELECT FROM unfinished
  WHERE quota_client BETWEEN $1::text AND $1::text
  ORDER BY quota_client
  LIMIT $2::int
) AS counted
