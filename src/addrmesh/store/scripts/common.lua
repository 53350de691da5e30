-- Prepended to every script of the store.
-- KEYS: 1 records, 2 index, 3 changes, 4 clock. What each holds is said in store/keys.py.

-- Whether version `a` is older than `b`. Bytewise: Lua's own `<` would follow the locale of the server.
local function older(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function version_of(packed)
  return packed:match('^[^\n]*')
end

-- A record or the clock has moved to `version`.
local function advance(version)
  local clock = redis.call('GET', KEYS[4])
  if not clock or older(clock, version) then redis.call('SET', KEYS[4], version) end
end

-- Store a record and leave its key where watchers look: after everything that was ever changed here. The server's
-- wall clock makes that hold even for a server that has lost its last second.
local function store(key, packed)
  local time = redis.call('TIME')
  local at = time[1] * 1000000 + time[2]
  local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
  if last then at = math.max(at, tonumber(last) + 1) end
  redis.call('HSET', KEYS[1], key, packed)
  redis.call('ZADD', KEYS[2], 0, key)
  redis.call('ZADD', KEYS[3], string.format('%.0f', at), key)
end
