-- Stores the answer, unless the key holds what is of others.
-- KEYS: halley:done:K
-- ARGV: claim, answer, milliseconds
local known = redis.call('GET', KEYS[1])
if not known or known == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
