-- Binds a key unless another connection has it. Returns whether the binding is
-- the caller's.
-- KEYS: halley:key:K
-- ARGV: content, seconds, server, connection
local bound = redis.call('GET', KEYS[1])
if bound then
  local server, number = string.match(bound, '^(.*) (%d+) %-?%d+$')
  if server ~= ARGV[3] or number ~= ARGV[4] then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
