-- Binds a key, unless a later connection of the same server has it; 0 is of a
-- peer that does not number connections. Returns whether the binding is the
-- caller's.
-- KEYS: halley:key:K
-- ARGV: content, seconds, server, connection
local server, number = string.match(redis.call('GET', KEYS[1]) or '', '^(.*) (%d+) %-?%d+$')
-- Too large for Lua's numbers: of two texts the longer is larger.
if server == ARGV[3] and ARGV[4] ~= '0' and (#number > #ARGV[4] or (#number == #ARGV[4] and number > ARGV[4])) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
