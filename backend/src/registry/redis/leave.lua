-- Replaces a node's entry by the word that it left, unless the entry is that of
-- another node of the same name.
local name, ttl_ms, started_ms, grpc = unpack(ARGV)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local is_json, entry = pcall(cjson.decode, redis.call('HGET', KEYS[1], name) or '')
if is_json and type(entry) == 'table' and type(entry.node) == 'table'
  and tonumber(entry.node.started_ms) == tonumber(started_ms) and entry.node.grpc == grpc then
  local expires_ms = string.format('%.0f', now_ms + ttl_ms)
  redis.call('HSET', KEYS[1], name, '{"expires_ms":' .. expires_ms .. ',"node":null}')
end
