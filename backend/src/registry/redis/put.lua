-- Writes a node's entry, unless a node of the same name has it that started
-- later and whose lease is not over: then its address is the result.
local name, ttl_ms, started_ms, grpc, node, sweeps = unpack(ARGV)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function alive(text)
  local is_json, entry = pcall(cjson.decode, text)
  if is_json and type(entry) == 'table' and (tonumber(entry.expires_ms) or 0) > now_ms then
    return entry
  end
end

if sweeps == '1' then
  local entries = redis.call('HGETALL', KEYS[1])
  for at = 1, #entries, 2 do
    if not alive(entries[at + 1]) then
      redis.call('HDEL', KEYS[1], entries[at])
    end
  end
end

local entry = alive(redis.call('HGET', KEYS[1], name) or '')
if entry and type(entry.node) == 'table' then
  local other_ms, other = tonumber(entry.node.started_ms) or 0, tostring(entry.node.grpc)
  local mine_ms = tonumber(started_ms)
  if other_ms > mine_ms or (other_ms == mine_ms and other > grpc) then
    return other
  end
end
local expires_ms = string.format('%.0f', now_ms + ttl_ms)
redis.call('HSET', KEYS[1], name, '{"expires_ms":' .. expires_ms .. ',"node":' .. node .. '}')
return false
