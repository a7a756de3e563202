-- Removes the claim, if the key holds just that.
-- KEYS: halley:done:K
-- ARGV: claim
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
