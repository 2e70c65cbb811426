-- name: change-client
-- args: $1 name text, $2 terms jsonb with those columns of the client as members that change; null removes a limit
-- returns: name text; no row for an unknown or revoked client
WITH changed AS (
  UPDATE clients c
  SET scopes          = CASE WHEN $2::jsonb ? 'scopes'          THEN t.scopes          ELSE c.scopes END,
      queues          = CASE WHEN $2::jsonb ? 'queues'          THEN t.queues          ELSE c.queues END,
      actions         = CASE WHEN $2::jsonb ? 'actions'         THEN t.actions         ELSE c.actions END,
      rate_per_minute = CASE WHEN $2::jsonb ? 'rate_per_minute' THEN t.rate_per_minute ELSE c.rate_per_minute END,
      burst           = CASE WHEN $2::jsonb ? 'burst'           THEN t.burst           ELSE c.burst END,
      unfinished_max  = CASE WHEN $2::jsonb ? 'unfinished_max'  THEN t.unfinished_max  ELSE c.unfinished_max END,
      delay_max_ms    = CASE WHEN $2::jsonb ? 'delay_max_ms'    THEN t.delay_max_ms    ELSE c.delay_max_ms END,
      timeout_max_ms  = CASE WHEN $2::jsonb ? 'timeout_max_ms'  THEN t.timeout_max_ms  ELSE c.timeout_max_ms END,
      note            = CASE WHEN $2::jsonb ? 'note'            THEN t.note            ELSE c.note END,
      expires_at      = CASE WHEN $2::jsonb ? 'expires_at'      THEN t.expires_at      ELSE c.expires_at END
  FROM jsonb_to_record($2::jsonb) AS t (scopes text[], queues text[], actions text[], rate_per_minute integer,
                                        burst integer, unfinished_max integer, delay_max_ms bigint,
                                        timeout_max_ms bigint, note text, expires_at timestamptz)
  WHERE c.name = $1::text AND c.revoked_at IS NULL
  RETURNING c.name
), counted AS (
  UPDATE clients_version SET version = version + 1 + floor(random() * 1000000)::bigint WHERE EXISTS (SELECT FROM changed)
)
SELECT name FROM changed
