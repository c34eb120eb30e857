
-- Orphan, release or void an open lease.
--
-- Law: only an open lease is ended so, once; one that has expired is ended already.
--
-- Units: as in common.lua.
-- ARGV[4]  the lease   ARGV[5]  'x' leaves what it held charged unless its ask releases,
--          'v' frees it
-- Replies: settled count ended 0

local lease = current(ARGV[4], read(ARGV[4], {})[2])
if not lease then
  return format('settled %.0f unknown 0', count)
end
if not is_open(lease) then
  return format('settled %.0f already 0', count)
end
close(lease, ARGV[5])
return format('settled %.0f settled 0', count)
