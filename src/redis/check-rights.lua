#!lua flags=no-writes
-- Whether the user who runs it may run some commands. Nothing of them is executed.
--
-- KEYS    none
-- ARGV    for each command: the number of its words, then the words
-- RETURNS for each command: 1 it may, 0 it may not, -1 the server does not know the command
local words = ARGV

local reply, at = {}, 1
while at <= #words do
  local last = at + tonumber(words[at])
  local known, allowed = pcall(redis.acl_check_cmd, unpack(words, at + 1, last))
  reply[#reply + 1] = not known and -1 or (allowed and 1 or 0)
  at = last + 1
end
return reply
