
-- Orphan, release or void an open lease.
--
-- Law: only an open lease is ended so, once; one that has expired is ended already. What stays
-- charged is what it held, or the amounts where those are less; the rest is freed.
--
-- Units: as in common.lua.
-- ARGV[4]  the lease   ARGV[5]  'x' leaves what it held charged unless its ask releases,
--          'v' frees it
-- ARGV[6…]  the most that stays charged, in the order of the ask's lines, or nothing for all
-- Replies: settled count ended 0
--          | uneven count (as many amounts as lines are needed)

local lease = current(ARGV[4], read(ARGV[4], {})[2])
if not lease then
  return format('settled %.0f unknown 0', count)
end
if not is_open(lease) then
  return format('settled %.0f already 0', count)
end
local most = {}
for i = 6, #ARGV do
  most[i - 5] = tonumber(ARGV[i])
end
if #most > 0 and #most ~= (#lease.rest - EXPIRY) / HELD_SIZE then
  return format('uneven %.0f', count)
end
close(lease, ARGV[5], most)
return format('settled %.0f settled 0', count)
