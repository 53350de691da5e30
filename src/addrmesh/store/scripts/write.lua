-- Write one record, if its current version is the expected one.
-- ARGV: 1 key, 2 value, 3 '1' to put or '0' to delete, 4 expected version, '*' for any or '' for none,
--       5 highest version of the key among the other regions or '', 6 '1' if that one has a value,
--       7 highest version the caller has seen or '', 8 wall clock of the caller in ms, 9 region, 10 channel
-- Result: {1, version written} or {0, version found, '' for none}
-- Atomic: two writers of a region cannot both succeed on the same expectation.
local key, value, has_value, expected, others, others_live, seen = unpack(ARGV, 1, 7)

local current, live = others, others_live == '1'
local own = redis.call('HGET', KEYS[1], key)
if own and older(current, version_of(own)) then
  current, live = version_of(own), own:find('\n', 1, true) ~= nil
end
if expected == '' then
  if live then return {0, current} end
elseif expected ~= '*' and expected ~= current then
  return {0, current}
end

-- The same as records.tick.
local last = redis.call('GET', KEYS[4]) or ''
if older(last, current) then last = current end
if older(last, seen) then last = seen end
local wall, counter = tonumber(ARGV[8]), 0
if last ~= '' then
  local last_wall = tonumber(last:sub(1, 11), 16)
  if wall <= last_wall then
    wall, counter = last_wall, tonumber(last:sub(13, 16), 16) + 1
    if counter == 65536 then wall, counter = wall + 1, 0 end
  end
end
-- %x would cut at 32 bits.
local version = string.format('%03x%08x.%04x.%s', math.floor(wall / 4294967296), wall % 4294967296, counter, ARGV[9])

advance(version)
store(key, has_value == '1' and version .. '\n' .. value or version)
redis.call('PUBLISH', ARGV[10], '')
return {1, version}
