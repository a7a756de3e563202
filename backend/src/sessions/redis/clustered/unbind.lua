-- Removes a key's binding if it is to this server, unless it is to a later
-- connection than is given. Returns what it removed.
-- KEYS: halley:key:K
-- ARGV: server, connection or nothing
local bound = redis.call('GET', KEYS[1])
local server, number = string.match(bound or '', '^(.*) (%d+) %-?%d+$')
if server ~= ARGV[1] then
  return false
end
-- Too large for Lua's numbers: of two texts the longer is larger. A smaller one is
-- there if a failover lost what the later login wrote.
if ARGV[2] ~= '' and (#number > #ARGV[2] or (#number == #ARGV[2] and number > ARGV[2])) then
  return false
end
redis.call('DEL', KEYS[1])
return bound
