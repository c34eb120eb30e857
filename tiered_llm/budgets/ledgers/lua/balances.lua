
-- Accounts as they stand.
--
-- Law: what has expired is ended first; 1 says that some of it was left for another
-- operation, after which the columns may be read again. An account never used is all zeros.
--
-- Units: as in common.lua; a limit below 0 is none.
-- ARGV[4…]  the accounts
-- Replies: balances count 0|1 {settled reserved orphaned overrun limit}

sweep(call('GET', group .. ':next'))
local words = { format('balances %.0f %d', count, next_expiry <= now and 1 or 0) }
for i = 4, #ARGV do
  local account = account_of(nil, call('GET', accounts .. ARGV[i]))
  words[#words + 1] = account and format('%.0f %.0f %.0f %.0f %.0f', account.settled,
    account.reserved, account.orphaned, account.overrun, account.limit) or '0 0 0 0 -1'
end
return table.concat(words, ' ')
