-- Add to a counter, in the cell of this run of the server.
-- KEYS: 1 counter.  ARGV: 1 amount, 2 milliseconds until the counter expires, or ''
-- Result: the cell's new amount
-- A server that comes back without its last second counts on in a new cell, so the old one can still be restored.
local run = redis.call('INFO', 'server'):match('run_id:(%x+)')
local amount = redis.call('HINCRBY', KEYS[1], run, ARGV[1])
if ARGV[2] ~= '' and redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return amount
