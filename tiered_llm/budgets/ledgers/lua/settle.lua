
-- Charge what was used in place of a lease's reservation.
--
-- Law: once for each lease, open, orphaned or released; what lies beyond the lease is overrun,
-- or for one that was released what limit and overrun do not already hold; an account whose time to be remembered is over is left alone.
--
-- Units: as in common.lua.
-- ARGV[4]  the lease   ARGV[5…]  what was used, in the order of the ask's lines
-- Replies: settled count ended overrun {account threshold charged limit at}
--          | uneven count (as many amounts as lines are needed)

local lease = current(ARGV[4], read(ARGV[4], {})[2])
if not lease then
  return format('settled %.0f unknown 0', count)
end
local was = lease.state
if was == 's' or was == 'v' then
  return format('settled %.0f already 0', count)
end
local keys, held, texts = held_by(lease)
if #keys ~= #ARGV - 4 then
  return format('uneven %.0f', count)
end

local overrun, said = 0, ''
for i, key in ipairs(keys) do
  local account = account_of(key, texts[i])
  if account then
    local amount = tonumber(ARGV[4 + i])
    local beyond = was == 'r' and beyond_bound(account, amount) or math.max(0, amount - held[i])
    overrun = math.max(overrun, beyond)
    account.settled = account.settled + amount
    account.overrun = account.overrun + beyond
    if was == 'x' then
      account.orphaned = account.orphaned - held[i]
    elseif was ~= 'r' then
      account.reserved = account.reserved - held[i]
    end
    said = said .. raise(account)
    save(account)
  end
end
keep(lease, 's')
return format('settled %.0f %s %.0f', count, is_open(lease) and 'settled' or 'corrected',
  overrun) .. said
