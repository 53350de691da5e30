-- Remove tombstones, each only if it is still the one the caller saw.
-- ARGV: key and version, alternating
-- Result: how many were removed
local forgotten = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
    forgotten = forgotten + 1
  end
end
return forgotten
