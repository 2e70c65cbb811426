-- name: show-client
-- args: $1 name text
-- returns: all columns of clients, and secrets json, an array of objects with id, created_at, expires_at, last_used_at;
--          null without secrets; no row for an unknown client
SELECT c.name, c.scopes, c.queues, c.actions, c.rate_per_minute, c.burst, c.unfinished_max, c.delay_max_ms,
       c.timeout_max_ms, c.note, c.created_at, c.expires_at, c.revoked_at,
       (SELECT json_agg(json_build_object('id', s.id, 'created_at', s.created_at, 'expires_at', s.expires_at,
                                          'last_used_at', s.last_used_at) ORDER BY s.created_at, s.id)
        FROM client_secrets s
        WHERE s.client = c.name) AS secrets
FROM clients c
WHERE c.name = $1::text
