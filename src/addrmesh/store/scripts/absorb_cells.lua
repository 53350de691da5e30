-- Raise cells of a counter to what another copy knows.
-- KEYS: 1 counter.  ARGV: 1 milliseconds until the counter expires, or '', then cell and amount, alternating
-- Result: how many cells were behind
local raised = 0
for i = 2, #ARGV, 2 do
  if tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    raised = raised + 1
  end
end
if ARGV[1] ~= '' and redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return raised
