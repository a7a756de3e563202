-- Removes a key's binding if it is to this server, and if one is given to this
-- connection. Returns what it removed.
-- KEYS: halley:key:K
-- ARGV: server, connection or nothing
local bound = redis.call('GET', KEYS[1])
local server, number = string.match(bound or '', '^(.*) (%d+) %-?%d+$')
if server ~= ARGV[1] or (ARGV[2] ~= '' and number ~= ARGV[2]) then
  return false
end
redis.call('DEL', KEYS[1])
return bound
