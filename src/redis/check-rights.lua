#!lua flags=no-writes
-- Checks whether the current user may run the given commands, without executing them.
--
-- KEYS    none
-- ARGV    for each command: the number of its words, then the words
-- RETURNS for each command: 1 allowed, 0 not allowed, -1 unknown to the server
local words = ARGV

local reply, at = {}, 1
while at <= #words do
  local last = at + tonumber(words[at])
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words, at + 1, last))
  reply[#reply + 1] = not known and -1 or (allowed and 1 or 0)
  at = last + 1
end
return reply
