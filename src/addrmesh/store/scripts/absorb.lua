-- Take over records that are newer than ours.
-- ARGV: 1 channel, then key and packed record, alternating
-- Result: how many were newer
-- Atomic per call; running it again changes nothing.
local absorbed = 0
for i = 2, #ARGV, 2 do
  local key, packed = ARGV[i], ARGV[i + 1]
  local own = redis.call('HGET', KEYS[1], key)
  if not own or older(version_of(own), version_of(packed)) then
    advance(version_of(packed))
    store(key, packed)
    absorbed = absorbed + 1
  end
end
if absorbed > 0 then redis.call('PUBLISH', ARGV[1], '') end
return absorbed
