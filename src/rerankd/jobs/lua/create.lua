-- Store a job. Returns its fields, those of the earlier job with the same idempotency key, 'conflict', 'full' or 'tenant_full'.
-- ARGV: id tenant priority timeout webhook idempotency fingerprint max_jobs max_bytes bytes total tenant_jobs
-- tenant_bytes charged, then for each part its payload and its number of requests
local id, tenant, priority, timeout, webhook = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local idem = ARGV[6] ~= '' and tenant..':'..ARGV[6] or ''
if redis.call('EXISTS', P..'job:'..id) == 1 then return fields(id) end
if idem ~= '' then
  local earlier = redis.call('GET', P..'idem:'..idem)
  if earlier and redis.call('EXISTS', P..'job:'..earlier) == 1 then
    if field(earlier, 'fingerprint') ~= ARGV[7] then return 'conflict' end
    return fields(earlier)
  end
end
local function is_full(of, max_jobs, max_bytes)
  local jobs = tonumber(redis.call('HGET', P..'open', 'jobs'..of) or 0)
  local bytes = tonumber(redis.call('HGET', P..'open', 'bytes'..of) or 0)
  return jobs >= tonumber(max_jobs) or (jobs > 0 and bytes + ARGV[10] > tonumber(max_bytes))
end
if is_full('', ARGV[8], ARGV[9]) then return 'full' end
if is_full(':'..tenant, ARGV[12], ARGV[13]) then return 'tenant_full' end
local t, parts = now(), (#ARGV - 14) / 2
local deadline = timeout > 0 and t + timeout or 0
redis.call('HSET', P..'job:'..id, 'state', 'queued', 'owner', tenant, 'priority', priority, 'created', t,
  'total', ARGV[11], 'done', 0, 'failed', 0, 'parts', parts, 'started', 0, 'finished', 0, 'deadline', deadline,
  'error', '', 'webhook', webhook, 'webhook_state', webhook ~= '' and 'pending' or '', 'bytes', ARGV[10],
  'idem', idem, 'fingerprint', ARGV[7], 'id', id, 'charged', ARGV[14], 'computed', 0, 'webhook_error', '')
for n = 0, parts - 1 do
  redis.call('HSET', P..'in:'..id, n, ARGV[15 + 2 * n])
  redis.call('HSET', P..'req:'..id, n, ARGV[16 + 2 * n])
  push(id, n)
end
if idem ~= '' then redis.call('SET', P..'idem:'..idem, id) end
if deadline > 0 then redis.call('ZADD', P..'deadlines', deadline, id) end
count_open(id, 1)
redis.call('ZADD', P..'created', t, id)
return fields(id)
