
-- Charge what was used in place of a lease's reservation.
--
-- Law: once for each lease, open or orphaned; what lies beyond the lease is overrun; an
-- account whose time to be remembered is over is left alone.
--
-- Units: as in common.lua.
-- ARGV[4]  the lease   ARGV[5…]  what was used, in the order of the ask's lines
-- Replies: settled count ended overrun {account threshold charged limit at}
--          | uneven count (as many amounts as lines are needed)

local lease = current(ARGV[4], read(ARGV[4], {})[2])
if not lease then
  return format('settled %.0f unknown 0', count)
end
if lease.state ~= 'o' and lease.state ~= 'x' then
  return format('settled %.0f already 0', count)
end
local ids, held, texts = held_by(lease)
if #ids ~= #ARGV - 4 then
  return format('uneven %.0f', count)
end

local overrun, said = 0, ''
for i, id in ipairs(ids) do
  local account = account_of(id, texts[i])
  if account then
    local amount = tonumber(ARGV[4 + i])
    local beyond = math.max(0, amount - held[i])
    overrun = math.max(overrun, beyond)
    account.settled = account.settled + amount
    account.overrun = account.overrun + beyond
    if lease.state == 'x' then
      account.orphaned = account.orphaned - held[i]
    else
      account.reserved = account.reserved - held[i]
    end
    said = said .. raise(account)
    save(account)
  end
end
keep(lease, 's')
return format('settled %.0f %s %.0f', count, lease.state == 'x' and 'corrected' or 'settled',
  overrun) .. said
