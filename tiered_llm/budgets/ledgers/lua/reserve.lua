
-- Reserve in every line, or nothing in any.
--
-- Law: the grant is the most tokens for which each refusing account keeps charged <= limit;
-- a lease that was asked for before is answered as then; windows are checked before anything.
--
-- Units: as in common.lua; tokens are whole, the lease's life is in seconds.
-- ARGV[4]  the lease   ARGV[5]  the most tokens, the lease's life, whether it is released at its end,
--          and the lines, of each of which `wanted` is what the least tokens cost
-- Replies: granted count tokens {account threshold charged limit at} | stale count now
--          | refused count line settled reserved orphaned overrun limit | large count

local tokens, life, releases = unpack_from('<ddB', ARGV[5])
local lines, names = read_lines(ARGV[5], 18)
local texts = read(ARGV[4], lines)
local known = lease_of(ARGV[4], texts[2])
if known then
  return format('granted %.0f %.0f', count, known.tokens)
end
for _, line in ipairs(lines) do
  if now < line.starts or now >= line.ends then
    return format('stale %.0f %.17g', count, now)
  end
end

limits_of(lines, names, texts[3])
local opening, refused = {}, nil
for i, line in ipairs(lines) do
  local account = opened(line, texts[3 + i], line.limit)
  opening[i] = account
  if line.refuses and account.limit >= 0 then
    local room = account.limit - charged(account)
    if line.wanted > room then
      refused = i
      break
    end
    if line.each > 0 then
      tokens = math.min(tokens, math.floor((room - line.fixed) / line.each))
    end
  end
end

local large = false
for _, line in ipairs(lines) do
  large = large or line.fixed + line.each * tokens > MAX_PARTS
end
if refused or large then
  for _, account in ipairs(opening) do
    if account.label then -- it is new, or its limit or its thresholds are
      save(account)
    end
  end
  if large and not refused then
    return format('large %.0f', count)
  end
  local account = opening[refused]
  return format('refused %.0f %d %.0f %.0f %.0f %.0f %.0f', count, refused, account.settled,
    account.reserved, account.orphaned, account.overrun, account.limit)
end

local expires = now + life
local forget = forgotten(lines, expires)
local texts_held = { pack('<c1ddd', releases == 1 and 'p' or 'o', tokens, forget, expires) }
local said, longest = '', 0
for i, account in ipairs(opening) do
  local held = lines[i].fixed + lines[i].each * tokens
  texts_held[i + 1] = pack(HELD, lines[i].id, held)
  account.reserved = account.reserved + held
  said = said .. raise(account)
  save(account)
  longest = math.max(longest, account.forget)
end
call('SET', group .. ':l:' .. ARGV[4], table.concat(texts_held), 'PX', lifetime_ms(forget))
call('ZADD', group, expires, ARGV[4])
if forget > longest then -- else the set lives as long as its accounts
  outlive(group, forget)
end
if expires < next_expiry then
  call('SET', group .. ':next', seconds(expires), 'PX', KEPT_S * 1000)
end
return format('granted %.0f %.0f', count, tokens) .. said
