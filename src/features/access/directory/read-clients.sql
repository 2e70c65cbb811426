-- name: read-clients
-- args: none
-- returns: a row for each secret of each client that is not revoked, expired ones included: version bigint, secret_id text,
--          hash bytea, secret_ends_ms float8 and client_ends_ms float8 (milliseconds from now, null: never), and of the
--          client name, scopes, queues, actions, rate_per_minute, burst, unfinished_max, delay_max_ms, timeout_max_ms.
--          Without any secret, one row with the version and nulls
-- One statement, so that the version is that of the rows.
SELECT v.version, s.id AS secret_id, s.hash,
       extract(epoch FROM s.expires_at - clock_timestamp())::float8 * 1000 AS secret_ends_ms,
       extract(epoch FROM c.expires_at - clock_timestamp())::float8 * 1000 AS client_ends_ms,
       c.name, c.scopes, c.queues, c.actions, c.rate_per_minute, c.burst, c.unfinished_max, c.delay_max_ms,
       c.timeout_max_ms
FROM clients_version v
LEFT JOIN (client_secrets s JOIN clients c ON c.name = s.client AND c.revoked_at IS NULL) ON true
ORDER BY s.id
