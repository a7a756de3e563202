-- Binds a key.
-- KEYS: key_K, conn_K, and of a user mid_M
-- ARGV: server, content of conn_K, seconds, K
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
if KEYS[3] then
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[1])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
