-- Lease webhooks that are due to a sender.
-- ARGV: limit lease_seconds
local t, due = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P..'hooks', '-inf', t, 'LIMIT', 0, ARGV[1])) do
  if redis.call('EXISTS', P..'job:'..id) == 1 then
    redis.call('ZADD', P..'hooks', t + ARGV[2], id)
    due[#due + 1] = {fields(id), redis.call('HINCRBY', P..'job:'..id, 'hook_attempts', 1) - 1}
  else
    redis.call('ZREM', P..'hooks', id)
  end
end
return due
