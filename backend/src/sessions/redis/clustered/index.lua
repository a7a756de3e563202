-- Names a key in the index of a user.
-- KEYS: halley:mid:M
-- ARGV: K, its entry, seconds
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
