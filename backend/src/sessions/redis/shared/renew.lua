-- Binds a key, unless another server or a later connection of the same one has
-- it; 0 is of a peer that does not number connections.
-- KEYS: key_K, conn_K, and of a user mid_M
-- ARGV: server, content of conn_K, seconds, K, connection
local bound = redis.call('GET', KEYS[1])
if bound and bound ~= ARGV[1] then
  return
end
if bound and ARGV[5] ~= '0' then
  local server, number = string.match(redis.call('GET', KEYS[2]) or '', '^(.*) (%d+) %-?%d+$')
  -- Too large for Lua's numbers: of two texts the longer is larger. A smaller one
  -- was left behind by a Go logic, which binds without a number.
  if server == bound and (#number > #ARGV[5] or (#number == #ARGV[5] and number > ARGV[5])) then
    return
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
if KEYS[3] then
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[1])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
