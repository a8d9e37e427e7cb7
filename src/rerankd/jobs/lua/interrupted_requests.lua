-- Sum up the requests of parts that were begun and have no result.
-- ARGV: job
local id, requests = ARGV[1], 0
for n = 0, tonumber(field(id, 'parts') or 0) - 1 do
  local begun = tonumber(redis.call('HGET', P..'part:'..id, n..':a') or 0)
    + tonumber(redis.call('HGET', P..'part:'..id, n..':l') or 0) > 0
  if begun and redis.call('HEXISTS', P..'out:'..id, n) == 0 then
    requests = requests + tonumber(redis.call('HGET', P..'req:'..id, n) or 0)
  end
end
return requests
