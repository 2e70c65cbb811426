-- name: clients-version
-- args: none
-- returns: version bigint, which differs after every change of a client or a secret
SELECT version FROM clients_version
