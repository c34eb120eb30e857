-- The server's time.
--
-- Law: the time by which windows begin and leases expire.
--
-- Units: seconds since the epoch and microseconds.
-- KEYS[1]  the generation, for its place in a cluster

return redis.call('TIME')
