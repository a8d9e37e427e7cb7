-- Release a part, to be claimed again after a delay.
-- ARGV: job part token delay count_attempt
local id, n = ARGV[1], ARGV[2]
if not holds_lease(id, n, ARGV[3]) then return 0 end
release(id, n)
if ARGV[5] == '0' then redis.call('HINCRBY', P..'part:'..id, n..':a', -1) end
if tonumber(ARGV[4]) > 0 then redis.call('ZADD', P..'delayed', now() + ARGV[4], id..':'..n) else push(id, n, true) end
return 1
