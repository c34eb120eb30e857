
-- Set a limit that goes before the asks' own, or take it back.
--
-- Law: it holds from the next ask on.
--
-- Units: as in common.lua.
-- ARGV[4]  the limit's sealed name   ARGV[5]  the limit, or nothing
-- Replies: set count

if ARGV[5] == '' then
  call('HDEL', group .. ':limits', ARGV[4])
else
  call('HSET', group .. ':limits', ARGV[4], ARGV[5])
end
if call('EXISTS', group .. ':limits') == 1 then
  call('SET', group .. ':limited', 1)
else
  call('DEL', group .. ':limited')
end
return format('set %.0f', count)
