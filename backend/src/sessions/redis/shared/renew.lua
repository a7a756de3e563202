-- Binds a key unless another connection has it.
-- KEYS: key_K, conn_K, and of a user mid_M
-- ARGV: server, content of conn_K, seconds, K, connection
local bound = redis.call('GET', KEYS[1])
if bound then
  local server, number = string.match(redis.call('GET', KEYS[2]) or '', '^(.*) (%d+) %-?%d+$')
  if bound ~= ARGV[1] or (server == bound and number ~= ARGV[5]) then
    return
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
if KEYS[3] then
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[1])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
