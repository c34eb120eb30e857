-- Count a batch of calls, each once. Counters are whole numbers; times are seconds.
-- KEYS    runs, order, ring, said, serial, then one hash for each hour, and for the total, of each
--         scope
-- ARGV    batch as JSON, calls kept whole, runs remembered, counters of an hour before "(other)",
--         names of faults, and of errors, of a total before "(other)"
-- batch   { calls = { { run, about, record, hours = { index of KEYS, ... }, counters }, ... },
--           lives = { seconds that each hash is kept, in the order of KEYS; 0 for ever } }
-- returns how many were counted
local runs, order, ring, said, serial = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local batch = cjson.decode(ARGV[1])
local recent, remembered, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local most_names = tonumber(ARGV[5])
local open_ended = { t = '^t/[^/]*/[^/]*/', f = '^f/[^/]*/', e = '^e/' }

local function names_of(key, family)
    local found = 0
    for _, name in ipairs(redis.call('HKEYS', key)) do
        if name:sub(1, 1) == family then
            found = found + 1
        end
    end
    return found
end

local function has_room(key, family, for_ever)
    if for_ever then
        return names_of(key, family) < most_names
    end
    return redis.call('HLEN', key) < most
end

local function kept(key, name, for_ever)
    local family = name:sub(1, 1)
    local pattern = open_ended[family]
    if not pattern or redis.call('HEXISTS', key, name) == 1 or has_room(key, family, for_ever) then
        return name
    end
    return name:match(pattern) .. '(other)'
end

local function add(key, name, value, for_ever)
    local family = name:sub(1, 1)
    if for_ever and family == 't' then
        return
    end
    if family == 'x' then
        local before = tonumber(redis.call('HGET', key, name) or 0)
        value = math.max(before, value)
        redis.call('HSET', key, name, string.format('%.0f', value))
    else
        redis.call('HINCRBY', key, kept(key, name, for_ever), string.format('%.0f', value))
    end
end

local function forget(number)
    redis.call('HDEL', ring, number - recent)
    redis.call('HDEL', said, number - recent)
    local old = redis.call('HGET', order, number - remembered)
    if old then
        redis.call('HDEL', runs, old)
        redis.call('HDEL', order, number - remembered)
    end
end

local numbers = {}
for _, call in ipairs(batch.calls) do
    if redis.call('HEXISTS', runs, call.run) == 0 then
        local number = redis.call('INCR', serial)
        redis.call('HSET', runs, call.run, number .. ' ' .. call.about)
        redis.call('HSET', order, number, call.run)
        redis.call('HSET', ring, number, call.record)
        for _, index in ipairs(call.hours) do
            local for_ever = batch.lives[index - 5] == 0
            for name, value in pairs(call.counters) do
                add(KEYS[index], name, value, for_ever)
            end
        end
        numbers[#numbers + 1] = number
    end
end
for _, number in ipairs(numbers) do
    forget(number)
end
for index, lives in ipairs(batch.lives) do
    if lives > 0 then
        redis.call('EXPIRE', KEYS[index + 5], lives)
    end
end
return #numbers
