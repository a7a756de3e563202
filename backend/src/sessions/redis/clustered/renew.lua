-- Binds a key, unless another server or a later connection of the same one has
-- it; 0 is of a peer that does not number connections. Returns whether the binding
-- is the caller's.
-- KEYS: halley:key:K
-- ARGV: content, seconds, server, connection
local bound = redis.call('GET', KEYS[1])
if bound then
  local server, number = string.match(bound, '^(.*) (%d+) %-?%d+$')
  if server ~= ARGV[3] then
    return 0
  end
  -- Too large for Lua's numbers: of two texts the longer is larger. A smaller one
  -- is there if a failover lost what the later login wrote.
  if ARGV[4] ~= '0' and (#number > #ARGV[4] or (#number == #ARGV[4] and number > ARGV[4])) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
