#!lua flags=allow-oom
-- Returns how long each worker has been silent. Silence counts from the last
-- beat of the worker, or from the end of the last gap without any beats if that
-- is later. If a worker that was asked for has never beaten, the script notes
-- the time, and the silence counts from then on.
--
-- KEYS    1 workers
-- ARGV    ids of workers that hold tasks or claims
-- RETURNS triples for every worker that is registered or was asked for:
--         id, milliseconds of silence, last beat (milliseconds since 1970, '' if it never beat)
local workers = KEYS[1]
local asked = ARGV

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local gap = tonumber(redis.call('ZSCORE', workers, '@gap'))
if not gap then
  gap = now
  redis.call('ZADD', workers, now, '@gap')
end

local is_asked = {}
for _, worker in ipairs(asked) do
  is_asked[worker] = true
  if not redis.call('ZSCORE', workers, worker) then redis.call('ZADD', workers, 'NX', now, '@first ' .. worker) end
end

local function silence_since(moment)
  return string.format('%.0f', now - math.max(math.min(moment, now), math.min(gap, now)))
end

local reply = {}
local function add(worker, moment, beat)
  reply[#reply + 1] = worker
  reply[#reply + 1] = silence_since(moment)
  reply[#reply + 1] = beat
end

local entries = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
for i = 1, #entries, 2 do
  local member, moment = entries[i], tonumber(entries[i + 1])
  local noted = string.match(member, '^@first (.*)$')
  if noted and (not is_asked[noted] or redis.call('ZSCORE', workers, noted)) then
    redis.call('ZREM', workers, member)
  elseif noted then
    add(noted, moment, '')
  elseif string.sub(member, 1, 1) ~= '@' then
    add(member, moment, string.format('%.0f', moment))
  end
end
return reply
