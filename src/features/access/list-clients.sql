-- name: list-clients
-- args: $1 after text, $2 most integer, $3 with_revoked bool
-- returns: the clients after a name, in the order of their names: all columns of clients, and secrets json, an array of
--          objects with id, created_at, expires_at, last_used_at; null without secrets
SELECT c.name, c.scopes, c.queues, c.actions, c.rate_per_minute, c.burst, c.unfinished_max, c.delay_max_ms,
       c.timeout_max_ms, c.note, c.created_at, c.expires_at, c.revoked_at,
       (SELECT json_agg(json_build_object('id', s.id, 'created_at', s.created_at, 'expires_at', s.expires_at,
                                          'last_used_at', s.last_used_at) ORDER BY s.created_at, s.id)
        FROM client_secrets s
        WHERE s.client = c.name) AS secrets
FROM clients c
WHERE c.name > $1::text AND ($3::bool OR c.revoked_at IS NULL)
ORDER BY c.name
LIMIT $2::integer
