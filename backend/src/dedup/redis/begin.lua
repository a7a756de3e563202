-- Returns what the key holds of others, or claims it and returns nothing.
-- KEYS: halley:done:K
-- ARGV: claim, milliseconds
local known = redis.call('GET', KEYS[1])
if known and known ~= ARGV[1] then
  return known
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
