-- Reads one page of a queue's claims. Returns all holders, and the claims of a certain age or of certain workers.
--
-- KEYS    1 inflight
-- ARGV    1 cursor of HSCAN  2 approximate number of entries  3 least age and 4 greatest age in milliseconds,
--         then ids of workers whose claims are returned whatever their age
-- RETURNS {next cursor ('0': the end), {worker id...}, {member, value...}}
local inflight = KEYS[1]
local cursor, count, least, greatest = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local args, wanted = ARGV, {}
for i = 5, #args do wanted[args[i]] = true end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local page = redis.call('HSCAN', inflight, cursor, 'COUNT', count)
local holders, claims, seen = {}, {}, {}
for i = 1, #page[2], 2 do
  local member, value = page[2][i], page[2][i + 1]
  local worker, claimed = string.match(value, '^(.*) (%d+)$')
  if not worker then
    worker, claimed = '', 0
  elseif not seen[worker] then
    seen[worker] = true
    holders[#holders + 1] = worker
  end
  local age = now - tonumber(claimed)
  if wanted[worker] or (age >= least and age <= greatest) then
    claims[#claims + 1] = member
    claims[#claims + 1] = value
  end
end
return { page[1], holders, claims }
