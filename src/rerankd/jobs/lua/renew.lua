-- Renew leases; 0 for each that is lost.
-- ARGV: lease_seconds, then for each claim its job, part and token
local renewed, expires = {}, now() + ARGV[1]
for i = 2, #ARGV, 3 do
  local valid = holds_lease(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if valid then redis.call('ZADD', P..'leases', expires, ARGV[i]..':'..ARGV[i + 1]) end
  renewed[#renewed + 1] = valid and 1 or 0
end
return renewed
