#!lua flags=no-writes
-- Marks the server process that runs it. The caller appends a nonce to this text, so that each mark is a different
-- script, and a server that has run it knows its hash. A server does not keep its scripts over a restart, nor send
-- them to a replica. So a server that knows the hash is the process that was marked.
--
-- KEYS    1 any key; in a Cluster it leads to the server that holds it
-- ARGV    none
-- RETURNS 1
return 1
