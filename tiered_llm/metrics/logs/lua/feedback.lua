-- Count a feedback on a call's answer; a later one takes an earlier one's place.
-- KEYS    runs, ring, said, then the call's hour and the total in each scope
-- ARGV    run, what is known of it (unless it has changed meanwhile), the same with the new score,
--         serial, feedback as JSON, the counters' names and differences as JSON
-- returns 1, or 0 if the run has changed or is forgotten
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if redis.call('HEXISTS', KEYS[2], ARGV[4]) == 1 then
    redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
end
for at = 4, #KEYS do
    -- an hour that is too old is gone, and stays so
    if redis.call('EXISTS', KEYS[at]) == 1 then
        for name, value in pairs(cjson.decode(ARGV[6])) do
            redis.call('HINCRBY', KEYS[at], name, string.format('%.0f', value))
        end
    end
end
return 1
