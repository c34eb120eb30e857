-- Begin a new generation over what there is: an operator has accepted that keys were lost.
--
-- Law: it is later than every generation before, by which the other processes know that
-- it was accepted and did not just begin in an empty store.
--
-- Units: as in open.lua.
-- KEYS[1]  the generation, a hash   ARGV[1]  an id   ARGV[2]  a secret, kept where there was none

local time = redis.call('TIME')
local kept = redis.call('HMGET', KEYS[1], 'id', 'since')
local since = math.max(tonumber(kept[2] or '0') + 1, time[1] * 1000000 + time[2])
if kept[1] then
  redis.call('DEL', KEYS[1] .. ':' .. kept[1])
end
redis.call('HSETNX', KEYS[1], 'secret', ARGV[2])
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'since', string.format('%.0f', since))
redis.call('INCR', KEYS[1] .. ':' .. ARGV[1])
return { 'accepted' }
