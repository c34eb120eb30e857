
-- The limits set at run time.
--
-- Law: all of them, in no order.
--
-- Units: as in common.lua.
-- Replies: limits count {name limit}

return format('limits %.0f ', count) .. table.concat(call('HGETALL', group .. ':limits'), ' ')
