-- Every script that touches a group begins with this text.
--
-- Law: a script runs alone on its primary, so that what it reads holds until it has written.
-- It goes on only where the generation has counted no fewer operations than the caller has
-- seen: keys that were lost are noticed before anything is charged.
--
-- Units: times are seconds since the epoch, amounts whole parts, at most 10^15 each; both are
-- doubles, so that a column is exact below 2^53. Texts of times have 17 digits.
--
-- KEYS[1]  how many operations the generation has counted; its name holds the generation's id
-- KEYS[2]  the group: a sorted set of open leases by their expiry, and of one without a name
--          that never expires, so that the set keeps its time to live; its other keys:
--            :a:<account>  settled reserved orphaned overrun limit (below 0: none) forget due
--                          (the charge at which an alert is next), thresholds|name|raised
--            :l:<lease>    state tokens forget, and until it is closed expires {account held};
--                          o is open, p open and released where others are orphaned,
--                          x orphaned, r released, s settled, v voided
--            :next         no lease expires before
--            :limits       a hash of limits set at run time, :limited says that there are any;
--                          the only two that never expire
--            :alerts       a stream of alerts raised
-- ARGV[1]  the operations seen   ARGV[2]  the time, or nothing where the server's own decides
-- ARGV[3]  the sealed group
-- A reply is words between spaces: how it went, the operations counted, and more.

local call, format, find = redis.call, string.format, string.find
local pack, unpack_from = struct.pack, struct.unpack

local count = call('INCR', KEYS[1])
if count <= tonumber(ARGV[1]) then
  if call('DECR', KEYS[1]) == 0 then
    call('DEL', KEYS[1])
  end
  return 'lost'
end

local SWEPT = 100        -- expired leases that one operation puts away
local KEPT_S = 48 * 3600 -- an account and its leases are remembered so long after the window
local MAX_PARTS = 1e15
local LONGEST_MS = 1e14  -- Redis takes no expiry much beyond
local ALERTS = 1000      -- alerts remembered of one group
local COLUMNS, COLUMNS_END = '<ddddddd', 56
local LEASE, HELD = '<c1dd', '<c22d'
local EXPIRY, HELD_SIZE = 8, 30 -- bytes

local group = KEYS[2]
local accounts = group .. ':a:'
local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end

local function seconds(time)
  return format('%.17g', time)
end

local function lifetime_ms(forget)
  return format('%.0f', math.min(math.ceil((forget - now) * 1000), LONGEST_MS))
end

-- A key that holds for many leases lives as long as the longest of them.
local function outlive(key, forget)
  local wanted = lifetime_ms(forget)
  if call('PTTL', key) < tonumber(wanted) then
    call('PEXPIRE', key, wanted)
  end
end

-- An account as it is kept, or nothing where it is not remembered. Its label stays in `text`
-- until it is needed.
local function account_of(key, text)
  if not text then
    return nil
  end
  local settled, reserved, orphaned, overrun, limit, forget, due = unpack_from(COLUMNS, text)
  if forget <= now then
    return nil
  end
  return { key = key, settled = settled, reserved = reserved, orphaned = orphaned,
    overrun = overrun, limit = limit, forget = forget, due = due, text = text, label = false }
end

local function label_of(account)
  account.label = account.label or account.text:sub(COLUMNS_END + 1)
  return account.label
end

local function save(account)
  local columns = pack(COLUMNS, account.settled, account.reserved, account.orphaned,
    account.overrun, account.limit, account.forget, account.due)
  if not account.label then
    call('SETRANGE', account.key, 0, columns)
  elseif account.text then
    call('SET', account.key, columns .. account.label, 'KEEPTTL')
  elseif account.forget > now then
    call('SET', account.key, columns .. account.label, 'PX', lifetime_ms(account.forget))
  end
end

local function charged(account)
  return account.settled + account.reserved + account.orphaned
end

-- How much of a further charge the limit and the overrun so far do not hold.
local function beyond_bound(account, amount)
  if account.limit < 0 then
    return 0
  end
  return math.max(0, math.min(amount,
    charged(account) + amount - account.limit - account.overrun))
end

-- The charge at which each threshold is due that is not raised, and the least of them.
local function ahead(account)
  local thresholds, name, raised = string.match(label_of(account), '^([^|]*)|([^|]*)|(.*)$')
  local marks, first = {}, math.huge
  for threshold in string.gmatch(account.limit < 0 and '' or thresholds, '%d+') do
    if not find(raised, ' ' .. threshold .. ' ', 1, true) then
      local percent, limit = tonumber(threshold), account.limit
      local due = percent * math.floor(limit / 100) + math.ceil(percent * (limit % 100) / 100)
      marks[#marks + 1] = { threshold = threshold, due = due }
      first = math.min(first, due)
    end
  end
  return marks, first, name
end

-- The account of a line, with the limit that is now in force.
local function opened(line, text, limit)
  local account = account_of(line.key, text)
  if not account then
    account = { key = line.key, settled = 0, reserved = 0, orphaned = 0, overrun = 0, limit = limit,
      forget = line.ends + KEPT_S, label = line.label }
    local _, due = ahead(account)
    account.due = due
    if account.forget > now then
      call('ZADD', group, 'inf', '')
      outlive(group, account.forget)
    end
  elseif account.limit ~= limit
    or find(text, line.label, COLUMNS_END + 1, true) ~= COLUMNS_END + 1 then
    account.limit = limit
    account.label = line.label .. string.match(label_of(account), '|([^|]*)$')
    local _, due = ahead(account)
    account.due = due
  end
  return account
end

-- Write down each alert that an account has come to; said in the reply, five words each.
local function raise(account)
  if charged(account) < account.due or account.forget <= now then
    return ''
  end
  local said = ''
  local marks, _, name = ahead(account)
  for _, mark in ipairs(marks) do
    if charged(account) >= mark.due then
      account.label = label_of(account) .. ' ' .. mark.threshold .. ' '
      local sum, limit, at = format('%.0f', charged(account)), format('%.0f', account.limit),
        seconds(now)
      call('XADD', group .. ':alerts', 'MAXLEN', ALERTS, '*', 'group', ARGV[3], 'account', name,
        'threshold', mark.threshold, 'charged', sum, 'limit', limit, 'at', at, 'count', format('%.0f', count))
      said = said .. format(' %s %s %s %s %s', name, mark.threshold, sum, limit, at)
    end
  end
  outlive(group .. ':alerts', account.forget)
  local _, due = ahead(account)
  account.due = due
  return said
end

-- A lease as it is kept, or nothing where it is not remembered.
local function lease_of(id, text)
  if not text then
    return nil
  end
  local state, tokens, forget, rest = unpack_from(LEASE, text)
  if forget <= now then
    return nil
  end
  return { id = id, state = state, tokens = tokens, forget = forget, rest = text:sub(rest) }
end

local function keep(lease, state)
  local rest = (state == 'x' or state == 'r') and lease.rest or ''
  call('SET', group .. ':l:' .. lease.id, pack(LEASE, state, lease.tokens, lease.forget) .. rest,
    'KEEPTTL')
  call('ZREM', group, lease.id)
end

-- The accounts of a lease that was not closed, and what it holds in each.
local function held_by(lease)
  local keys, held, n, id = {}, {}, 0, nil
  local at = EXPIRY + 1
  while at <= #lease.rest do
    n = n + 1
    id, held[n], at = unpack_from(HELD, lease.rest, at)
    keys[n] = accounts .. id
  end
  return keys, held, n > 0 and call('MGET', unpack(keys)) or {}
end

local function is_open(lease)
  return lease.state == 'o' or lease.state == 'p'
end

-- End an open lease: 'x' leaves what it held charged, but at most the amounts where there are any,
-- or frees it if its ask releases; 'v' frees it.
local function close(lease, state, most)
  if state == 'x' and lease.state == 'p' then
    state = 'r'
  end
  local keys, held, texts = held_by(lease)
  local rest = { lease.rest:sub(1, EXPIRY) }
  for i, key in ipairs(keys) do
    local left = math.min(held[i], most and most[i] or held[i])
    rest[i + 1] = pack(HELD, key:sub(#accounts + 1), left)
    local account = account_of(key, texts[i])
    if account then
      account.reserved = account.reserved - held[i]
      if state == 'x' then
        account.orphaned = account.orphaned + left
      end
      save(account)
    end
  end
  lease.rest = table.concat(rest)
  keep(lease, state)
  lease.state = state
end

-- A lease as the contract sees it: one that has expired is ended, whoever comes first.
local function current(id, text)
  local lease = lease_of(id, text)
  if lease and is_open(lease) and unpack_from('<d', lease.rest) <= now then
    close(lease, 'x')
  end
  return lease
end

-- Orphan or release leases that have expired, if it is time; whether there were any.
local next_expiry
local function sweep(text)
  next_expiry = tonumber(text or '') or -math.huge
  if now < next_expiry then
    return false
  end
  local due = call('ZRANGEBYSCORE', group, '-inf', now, 'LIMIT', 0, SWEPT)
  for _, id in ipairs(due) do
    if not current(id, call('GET', group .. ':l:' .. id)) then -- forgotten before it expired
      call('ZREM', group, id)
    end
  end
  next_expiry = tonumber(call('ZRANGE', group, 0, 0, 'WITHSCORES')[2] or 'inf')
  call('SET', group .. ':next', seconds(next_expiry), 'PX', KEPT_S * 1000)
  return #due > 0
end

-- The lines of an ask from one argument: doubles, then texts headed by their lengths.
-- An account's id is what its sealed name, within the label, begins with.
local function read_lines(text, at)
  local lines, names, n = {}, {}, 0
  local starts, ends, fixed, each, wanted, limit, refuses, id, label
  while at <= #text do
    n = n + 1
    starts, ends, fixed, each, wanted, limit, refuses, id, label, names[n], at =
      unpack_from('<ddddddBc22I4c0I4c0', text, at)
    lines[n] = { starts = starts, ends = ends, fixed = fixed, each = each, wanted = wanted,
      limit = limit, refuses = refuses == 1, id = id, key = accounts .. id, label = label }
  end
  return lines, names
end

-- The lines' accounts and the lease, read at once after what is due was put away.
local function read(lease, lines)
  local keys = { group .. ':next', group .. ':l:' .. lease, group .. ':limited' }
  for i, line in ipairs(lines) do
    keys[3 + i] = line.key
  end
  local texts = call('MGET', unpack(keys))
  if sweep(texts[1]) then
    texts = call('MGET', unpack(keys))
  end
  return texts
end

-- The limit of each line that is in force: one set at run time goes before its own.
local function limits_of(lines, names, limited)
  if limited and names[1] then
    local set = call('HMGET', group .. ':limits', unpack(names))
    for i, line in ipairs(lines) do
      line.limit = tonumber(set[i] or line.limit)
    end
  end
end

-- When a lease over these lines is forgotten; `otherwise` counts where there are none.
local function forgotten(lines, otherwise)
  local ends = lines[1] and lines[1].ends or otherwise
  for _, line in ipairs(lines) do
    ends = math.max(ends, line.ends)
  end
  return ends + KEPT_S
end
