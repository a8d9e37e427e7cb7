-- Queue the failed parts of a job again.
-- ARGV: job
local id = ARGV[1]
if redis.call('EXISTS', P..'job:'..id) == 0 or is_open(id) then return fields(id) end
local failed_parts = {}
for n = 0, field(id, 'parts') - 1 do
  local failed = tonumber(redis.call('HGET', P..'part:'..id, n..':f') or 0)
  local unfinished = failed > 0 or redis.call('HEXISTS', P..'out:'..id, n) == 0
  if unfinished and redis.call('HEXISTS', P..'in:'..id, n) == 1 then
    failed_parts[#failed_parts + 1] = n
    local out = redis.call('HGET', P..'out:'..id, n)
    if failed > 0 and out then
      local requests = tonumber(redis.call('HGET', P..'req:'..id, n))
      redis.call('HINCRBY', P..'job:'..id, 'failed', -failed)
      redis.call('HINCRBY', P..'job:'..id, 'done', failed - requests)
    end
    redis.call('HDEL', P..'out:'..id, n)
    redis.call('HDEL', P..'part:'..id, n..':f', n..':a', n..':l', n..':t')
    redis.call('ZREM', P..'leases', id..':'..n)  -- a worker may have held it when the job was cancelled
  end
end
if #failed_parts == 0 then return fields(id) end
each_key(id, 'PERSIST')  -- ending the job had set an expiry
local webhook = field(id, 'webhook')
redis.call('HSET', P..'job:'..id, 'state', 'queued', 'error', '', 'deadline', 0, 'finished', 0, 'hook_attempts', 0, 'webhook_error', '',
  'webhook_state', webhook ~= '' and 'pending' or '')
count_open(id, 1)
redis.call('ZREM', P..'dead', id)
redis.call('ZREM', P..'hooks', id)
for _, n in ipairs(failed_parts) do push(id, n) end
return fields(id)
