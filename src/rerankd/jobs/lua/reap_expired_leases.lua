-- Take parts back from silent workers and expire late jobs. Redis itself drops jobs past their retention.
-- ARGV: max_lost_leases retention_seconds worker_lost_result
local t, reaped = now(), 0
for _, item in ipairs(redis.call('ZRANGEBYSCORE', P..'leases', '-inf', t, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', P..'leases', item)
  local id, n = split(item)
  if is_open(id) then
    redis.call('HDEL', P..'part:'..id, n..':t')
    redis.call('HINCRBY', P..'part:'..id, n..':a', -1)  -- a lost worker is no failure of the part
    if redis.call('HINCRBY', P..'part:'..id, n..':l', 1) >= tonumber(ARGV[1]) then
      dead_letter(id, n, ARGV[3], 'A part lost the lease of its worker too often.', ARGV[2])
    else
      push(id, n, true)
    end
    reaped = reaped + 1
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P..'deadlines', '-inf', t, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', P..'deadlines', id)
  if is_open(id) then end_job(id, 'expired', 'The job\'s deadline has passed.', ARGV[2]) end
end
-- Indexes keep ids of jobs whose keys have expired.
for _, set in ipairs({'created', 'dead', 'hooks'}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P..set, '-inf', t - ARGV[2], 'LIMIT', 0, 200)) do
    if redis.call('EXISTS', P..'job:'..id) == 0 then redis.call('ZREM', P..set, id) end
  end
end
return reaped
