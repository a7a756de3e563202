-- Removes a key from the index of a user, if its entry is still this one.
-- KEYS: halley:mid:M
-- ARGV: K, its entry
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
