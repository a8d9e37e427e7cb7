-- Store the result of a part, if its lease is still the worker's.
-- ARGV: job part token result done failed retention_seconds error computed reason
local id, n = ARGV[1], ARGV[2]
if not holds_lease(id, n, ARGV[3]) then return nil end
release(id, n)
redis.call('HSET', P..'out:'..id, n, ARGV[4])
-- A retry needs the payload of a part that failed.
if ARGV[6] == '0' then redis.call('HDEL', P..'in:'..id, n) else redis.call('HSET', P..'part:'..id, n..':f', ARGV[6]) end
if ARGV[8] ~= '' then
  bury(id, ARGV[8])
elseif ARGV[10] ~= '' and field(id, 'error') == '' then
  redis.call('HSET', P..'job:'..id, 'error', ARGV[10])
end
redis.call('HINCRBY', P..'job:'..id, 'computed', ARGV[9])
count(id, ARGV[5], ARGV[6], ARGV[7])
return fields(id)
