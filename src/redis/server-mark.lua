#!lua flags=no-writes
-- Marks the server process that runs it. The caller appends a nonce to this text, so that each mark is a script
-- of its own, and the server that has once run it knows it by its hash. No server keeps its scripts over a
-- restart or hands them to a replica, so one that knows the mark is the process that was marked.
--
-- KEYS    1 any key; in a Cluster it leads to the server that holds it
-- ARGV    none
-- RETURNS 1
return 1
