-- Removes a key's binding if it is to this server, unless it is known to be to a
-- later connection. Returns whether it did.
-- KEYS: key_K, conn_K, and of a user mid_M
-- ARGV: server, connection or nothing, K
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local server, number = string.match(redis.call('GET', KEYS[2]) or '', '^(.*) (%d+) %-?%d+$')
-- Too large for Lua's numbers: of two texts the longer is larger. A smaller one
-- was left behind by a Go logic, which binds without a number.
if ARGV[2] ~= '' and server == ARGV[1] and (#number > #ARGV[2] or (#number == #ARGV[2] and number > ARGV[2])) then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
if KEYS[3] then
  redis.call('HDEL', KEYS[3], ARGV[3])
end
return 1
