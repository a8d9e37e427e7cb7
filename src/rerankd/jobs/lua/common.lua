-- Helpers of every script. A script runs alone on the server, so each step of a job happens as a whole or not at all.
-- Times are the Redis server's own: the clocks of workers may differ.
local P = '{rerankd}:'
local function now() local t = redis.call('TIME') return t[1] + t[2] / 1000000 end
local function field(id, name) return redis.call('HGET', P..'job:'..id, name) end
local function is_open(id) local s = field(id, 'state') return s == 'queued' or s == 'running' end
local function fields(id) return redis.call('HGETALL', P..'job:'..id) end
local function split(item) local id, n = string.match(item, '^(.*):(%d+)$') return id, n end
-- Run a command on every key of a job.
local function each_key(id, change, ...)
  for _, kind in ipairs({'job:', 'in:', 'out:', 'req:', 'part:'}) do redis.call(change, P..kind..id, ...) end
  local idem = field(id, 'idem')
  if idem and idem ~= '' then redis.call(change, P..'idem:'..idem, ...) end
end
-- Make a part claimable. A tenant is in the ring of its priority for as long as its list holds parts, so that claims
-- that take the first tenant and put it back at the end are round robin.
local function push(id, n, front)
  local tenant, priority = field(id, 'owner'), field(id, 'priority')
  local list = P..'wait:'..priority..':'..tenant
  if redis.call('EXISTS', list) == 0 then redis.call('RPUSH', P..'ring:'..priority, tenant) end
  redis.call(front and 'LPUSH' or 'RPUSH', list, id..':'..n)
  redis.call('HINCRBY', P..'waiting', priority, 1)
end
-- Add a job to the unfinished ones (1) or take it away (-1), in all and of its tenant. A tenant without one has no counts.
local function count_open(id, sign)
  local bytes, tenant = field(id, 'bytes'), ':'..field(id, 'owner')
  redis.call('HINCRBY', P..'open', 'jobs', sign)
  redis.call('HINCRBY', P..'open', 'bytes', sign * bytes)
  local jobs = redis.call('HINCRBY', P..'open', 'jobs'..tenant, sign)
  redis.call('HINCRBY', P..'open', 'bytes'..tenant, sign * bytes)
  if jobs <= 0 then redis.call('HDEL', P..'open', 'jobs'..tenant, 'bytes'..tenant) end
end
-- End a job. Its parts stay in the lists and leases: scripts that come across them see that the job is not open. Keys
-- expire by themselves after the retention.
local function end_job(id, state, reason, keep)
  redis.call('HSET', P..'job:'..id, 'state', state, 'finished', now(), 'error', reason)
  redis.call('HINCRBY', P..'totals', state, 1)
  count_open(id, -1)
  redis.call('ZREM', P..'deadlines', id)
  if field(id, 'webhook') ~= '' then redis.call('ZADD', P..'hooks', now(), id) end
  each_key(id, 'EXPIRE', keep)
  redis.call('PUBLISH', P..'ended', id)
end
-- True if a token is the fencing token of the part's current lease. A worker that was silent for too long has another
-- worker's lease in its place, and its result must not count.
local function holds_lease(id, n, token)
  return redis.call('HGET', P..'part:'..id, n..':t') == token and is_open(id)
end
local function release(id, n)
  redis.call('HDEL', P..'part:'..id, n..':t')
  redis.call('ZREM', P..'leases', id..':'..n)
end
-- Count results, and end the job with the last one.
local function count(id, done, failed, keep)
  local d = redis.call('HINCRBY', P..'job:'..id, 'done', done)
  local f = redis.call('HINCRBY', P..'job:'..id, 'failed', failed)
  if is_open(id) and d + f >= tonumber(field(id, 'total')) then
    end_job(id, f > 0 and 'failed' or 'succeeded', field(id, 'error'), keep)
  end
end
local function bury(id, reason)
  redis.call('HSET', P..'job:'..id, 'error', reason)
  redis.call('ZADD', P..'dead', now(), id)
  redis.call('HINCRBY', P..'totals', 'dead', 1)
end
-- Give up a part: its requests fail, and the job is in the dead-letter queue.
local function dead_letter(id, n, result, reason, keep)
  local requests = redis.call('HGET', P..'req:'..id, n)
  redis.call('HSET', P..'out:'..id, n, result)
  redis.call('HSET', P..'part:'..id, n..':f', requests)
  bury(id, reason)
  count(id, 0, requests, keep)
end
