-- Meet a generation, or begin the first one.
--
-- Law: whoever comes first decides its id and its secret; everybody is told the same. Its
-- count is never 0 where it has been met: a count that is lost begins below what was seen.
--
-- Units: since is in microseconds since the epoch on the server's clock, 0 for a first
-- generation; count is in operations.
-- KEYS[1]  the generation, a hash   ARGV[1]  an id, or nothing to begin none   ARGV[2]  a secret
-- Replies: id since count secret, or nothing

if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[1] == '' then
    return {}
  end
  redis.call('HSET', KEYS[1], 'id', ARGV[1], 'since', 0, 'secret', ARGV[2])
end
local kept = redis.call('HMGET', KEYS[1], 'id', 'since', 'secret')
local counted = KEYS[1] .. ':' .. kept[1]
local count = ARGV[1] == '' and tonumber(redis.call('GET', counted) or '0')
  or redis.call('INCR', counted)
return { kept[1], kept[2], count, kept[3] }
