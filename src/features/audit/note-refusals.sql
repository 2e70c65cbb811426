-- name: note-refusals
-- args: for each group of equal refusals: $1 clients text[], $2 actions text[], $3 codes text[], $4 objects text[] (null: none),
--       $5 addresses text[], $6 trace_ids text[], $7 counts int8[], $8 ages_ms float8[]: milliseconds since the first of them
-- returns: nothing
-- Equal refusals of one minute are one row, whichever process refused them, so the id is made of what they have in common.
-- The row has the object, the address and the trace of the first. If an answer is lost, the repeated call counts the
-- refusals twice.
INSERT INTO audit AS a (id, at, client, action, outcome, code, objects, count, address, trace_id)
SELECT left(encode(sha256(convert_to(concat_ws(' ', extract(epoch FROM date_trunc('minute', at)), action, code, client),
                                     'UTF8')), 'hex'), 32)::uuid AS id,
       at, client, action, 'refused', code, array_remove(ARRAY[object], NULL), count, address, trace_id
FROM (
  SELECT client, action, code, object, address, trace_id, count, now() - age_ms * interval '1 millisecond' AS at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::float8[])
       AS given (client, action, code, object, address, trace_id, count, age_ms)
) AS refused
-- In one order, so that processes that write the same rows do not wait for each other.
ORDER BY 1
ON CONFLICT (id) DO UPDATE SET count = a.count + excluded.count
