-- Delete a job that has ended.
-- ARGV: job
local id = ARGV[1]
if redis.call('EXISTS', P..'job:'..id) == 0 or is_open(id) then return 0 end
each_key(id, 'DEL')
for _, set in ipairs({'created', 'dead', 'hooks', 'deadlines'}) do redis.call('ZREM', P..set, id) end
return 1
