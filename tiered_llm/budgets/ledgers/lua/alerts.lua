
-- A group's alerts, newest first.
--
-- Law: those of the last operation come first.
--
-- Units: as in common.lua; `at` is the ledger's time when the alert was raised.
-- ARGV[4]  how many at most
-- Replies: a table: alerts, count, entries as XREVRANGE has them

return { 'alerts', format('%.0f', count),
  call('XREVRANGE', group .. ':alerts', '+', '-', 'COUNT', ARGV[4]) }
