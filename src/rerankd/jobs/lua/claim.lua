-- Lease the next part to a worker.
-- ARGV: token lease_seconds bulk retention_seconds
local t = now()
-- Delayed parts that are due go to the front: they waited in the list before.
for _, item in ipairs(redis.call('ZRANGEBYSCORE', P..'delayed', '-inf', t, 'LIMIT', 0, 100)) do
  redis.call('ZREM', P..'delayed', item)
  local id, n = split(item)
  if is_open(id) then push(id, n, true) end
end
for _, priority in ipairs(ARGV[3] == '1' and {'interactive', 'bulk'} or {'interactive'}) do
  while true do
    local tenant = redis.call('LPOP', P..'ring:'..priority)
    if not tenant then break end
    local list = P..'wait:'..priority..':'..tenant
    local item = redis.call('LPOP', list)
    redis.call('HINCRBY', P..'waiting', priority, -1)
    if redis.call('EXISTS', list) == 1 then redis.call('RPUSH', P..'ring:'..priority, tenant) end
    local id, n = split(item)
    -- A part is in the list twice after its job was cancelled and retried; one that is leased or finished is skipped.
    local is_free = redis.call('HEXISTS', P..'part:'..id, n..':t') == 0 and redis.call('HEXISTS', P..'out:'..id, n) == 0
    if is_open(id) and is_free then
      local deadline = tonumber(field(id, 'deadline'))
      if deadline > 0 and deadline < t then
        end_job(id, 'expired', 'The job\'s deadline has passed.', ARGV[4])
      else
        redis.call('HSET', P..'part:'..id, n..':t', ARGV[1])
        local attempt = redis.call('HINCRBY', P..'part:'..id, n..':a', 1)
        redis.call('ZADD', P..'leases', t + ARGV[2], item)
        if field(id, 'state') == 'queued' then redis.call('HSET', P..'job:'..id, 'state', 'running', 'started', t) end
        -- The time that is left and not the deadline, since the clock of the worker may differ from this one.
        local left = deadline > 0 and string.format('%.6f', deadline - t) or ''
        return {id, n, redis.call('HGET', P..'in:'..id, n), attempt, tenant, priority, left,
          redis.call('HGET', P..'req:'..id, n)}
      end
    end
  end
end
return nil
