
-- Charge what was used without a lease before.
--
-- Law: once for each lease; windows are not checked; only what limit and overrun do not
-- already hold is added to the overrun.
--
-- Units: as in common.lua.
-- ARGV[4]  the lease   ARGV[5]  what does not count, and the lines as in reserve.lua
-- ARGV[6…]  what was used, in the order of the lines
-- Replies: settled count ended overrun {account threshold charged limit at}

local lines, names = read_lines(ARGV[5], 18)
local texts = read(ARGV[4], lines)
if lease_of(ARGV[4], texts[2]) then
  return format('settled %.0f already 0', count)
end
limits_of(lines, names, texts[3])

local overrun, said = 0, ''
for i, line in ipairs(lines) do
  local account = opened(line, texts[3 + i], line.limit)
  local amount = tonumber(ARGV[5 + i])
  local beyond = beyond_bound(account, amount)
  overrun = math.max(overrun, beyond)
  account.settled = account.settled + amount
  account.overrun = account.overrun + beyond
  said = said .. raise(account)
  save(account)
end
local forget = forgotten(lines, now)
if forget > now then
  call('SET', group .. ':l:' .. ARGV[4], pack(LEASE, 's', 0, forget), 'PX', lifetime_ms(forget))
end
return format('settled %.0f settled %.0f', count, overrun) .. said
