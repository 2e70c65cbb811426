-- name: clients-version
-- args: none
-- returns: version bigint, which is another one after every change of a client or a secret
SELECT version FROM clients_version
