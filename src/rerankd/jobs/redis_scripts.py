"""What happens to jobs in Redis, each step whole or not at all: Lua, run by the server.

    job:ID     hash    the job            in:ID    hash   part -> payload      ring:PRIORITY        list  owners in turn
    part:ID    hash    N:t token,         out:ID   hash   part -> result       wait:PRIORITY:OWNER  list  ID:N
                       N:a attempts,      req:ID   hash   part -> requests     leases, delayed      zset  ID:N by time
                       N:l losses,        idem:..  string ID               deadlines, hooks,
                       N:f failed                                          dead, created        zset  ID
    open       hash    jobs, bytes        waiting  hash   priority -> parts

An owner is in the ring as long as its list holds anything. Times are the Redis server's own.
"""

from __future__ import annotations

PREFIX = "{rerankd}:"  # braces keep all keys on one node of a cluster
ENDED = f"{PREFIX}ended"

_COMMON = """
local P = '{rerankd}:'
local function now() local t = redis.call('TIME') return t[1] + t[2] / 1000000 end
local function field(id, name) return redis.call('HGET', P..'job:'..id, name) end
local function open(id) local s = field(id, 'state') return s == 'queued' or s == 'running' end
local function whole(id) return redis.call('HGETALL', P..'job:'..id) end
local function split(item) local id, n = string.match(item, '^(.*):(%d+)$') return id, n end
local function each(id, change, ...)
  for _, kind in ipairs({'job:', 'in:', 'out:', 'req:', 'part:'}) do redis.call(change, P..kind..id, ...) end
  local idem = field(id, 'idem')
  if idem and idem ~= '' then redis.call(change, P..'idem:'..idem, ...) end
end
local function push(id, n, front)
  local owner, priority = field(id, 'owner'), field(id, 'priority')
  local list = P..'wait:'..priority..':'..owner
  if redis.call('EXISTS', list) == 0 then redis.call('RPUSH', P..'ring:'..priority, owner) end
  redis.call(front and 'LPUSH' or 'RPUSH', list, id..':'..n)
  redis.call('HINCRBY', P..'waiting', priority, 1)
end
local function final(id, state, why, keep)
  redis.call('HSET', P..'job:'..id, 'state', state, 'finished', now(), 'error', why)
  redis.call('HINCRBY', P..'open', 'jobs', -1)
  redis.call('HINCRBY', P..'open', 'bytes', -field(id, 'bytes'))
  redis.call('ZREM', P..'deadlines', id)
  if field(id, 'webhook') ~= '' then redis.call('ZADD', P..'hooks', now(), id) end
  each(id, 'EXPIRE', keep)
  redis.call('PUBLISH', P..'ended', id)
end
local function mine(id, n, token)
  return redis.call('HGET', P..'part:'..id, n..':t') == token and open(id)
end
local function let_go(id, n)
  redis.call('HDEL', P..'part:'..id, n..':t')
  redis.call('ZREM', P..'leases', id..':'..n)
end
local function counted(id, done, failed, keep)
  local d = redis.call('HINCRBY', P..'job:'..id, 'done', done)
  local f = redis.call('HINCRBY', P..'job:'..id, 'failed', failed)
  if open(id) and d + f >= tonumber(field(id, 'total')) then
    final(id, f > 0 and 'failed' or 'succeeded', field(id, 'error'), keep)
  end
end
local function bury(id, n, result, why, keep)
  local requests = redis.call('HGET', P..'req:'..id, n)
  redis.call('HSET', P..'out:'..id, n, result)
  redis.call('HSET', P..'part:'..id, n..':f', requests)
  redis.call('HSET', P..'job:'..id, 'error', why)
  redis.call('ZADD', P..'dead', now(), id)
  counted(id, 0, requests, keep)
end
"""

# id owner priority timeout webhook idempotency fingerprint max_jobs max_bytes bytes total, then payload and requests
CREATE = (
    _COMMON
    + """
local id, owner, priority, timeout, webhook = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local idem = ARGV[6] ~= '' and owner..':'..ARGV[6] or ''
if redis.call('EXISTS', P..'job:'..id) == 1 then return whole(id) end
if idem ~= '' then
  local known = redis.call('GET', P..'idem:'..idem)
  if known and redis.call('EXISTS', P..'job:'..known) == 1 then
    if field(known, 'fingerprint') ~= ARGV[7] then return 'conflict' end
    return whole(known)
  end
end
local jobs = tonumber(redis.call('HGET', P..'open', 'jobs') or 0)
local bytes = tonumber(redis.call('HGET', P..'open', 'bytes') or 0)
if jobs >= tonumber(ARGV[8]) or (jobs > 0 and bytes + ARGV[10] > tonumber(ARGV[9])) then return 'full' end
local t, parts = now(), (#ARGV - 11) / 2
local deadline = timeout > 0 and t + timeout or 0
redis.call('HSET', P..'job:'..id, 'state', 'queued', 'owner', owner, 'priority', priority, 'created', t,
  'total', ARGV[11], 'done', 0, 'failed', 0, 'parts', parts, 'started', 0, 'finished', 0, 'deadline', deadline,
  'error', '', 'webhook', webhook, 'webhook_state', webhook ~= '' and 'pending' or '', 'bytes', ARGV[10],
  'idem', idem, 'fingerprint', ARGV[7], 'id', id)
for n = 0, parts - 1 do
  redis.call('HSET', P..'in:'..id, n, ARGV[12 + 2 * n])
  redis.call('HSET', P..'req:'..id, n, ARGV[13 + 2 * n])
  push(id, n)
end
if idem ~= '' then redis.call('SET', P..'idem:'..idem, id) end
if deadline > 0 then redis.call('ZADD', P..'deadlines', deadline, id) end
redis.call('HINCRBY', P..'open', 'jobs', 1)
redis.call('HINCRBY', P..'open', 'bytes', ARGV[10])
redis.call('ZADD', P..'created', t, id)
return whole(id)
"""
)

# token lease bulk keep
CLAIM = (
    _COMMON
    + """
local t = now()
for _, item in ipairs(redis.call('ZRANGEBYSCORE', P..'delayed', '-inf', t, 'LIMIT', 0, 100)) do
  redis.call('ZREM', P..'delayed', item)
  local id, n = split(item)
  if open(id) then push(id, n, true) end
end
for _, priority in ipairs(ARGV[3] == '1' and {'interactive', 'bulk'} or {'interactive'}) do
  while true do
    local owner = redis.call('LPOP', P..'ring:'..priority)
    if not owner then break end
    local list = P..'wait:'..priority..':'..owner
    local item = redis.call('LPOP', list)
    redis.call('HINCRBY', P..'waiting', priority, -1)
    if redis.call('EXISTS', list) == 1 then redis.call('RPUSH', P..'ring:'..priority, owner) end
    local id, n = split(item)
    -- a part may be in the list twice, after its job was cancelled and retried
    local free = redis.call('HEXISTS', P..'part:'..id, n..':t') == 0 and redis.call('HEXISTS', P..'out:'..id, n) == 0
    if open(id) and free then
      local deadline = tonumber(field(id, 'deadline'))
      if deadline > 0 and deadline < t then
        final(id, 'expired', 'Its time was up.', ARGV[4])
      else
        redis.call('HSET', P..'part:'..id, n..':t', ARGV[1])
        local attempt = redis.call('HINCRBY', P..'part:'..id, n..':a', 1)
        redis.call('ZADD', P..'leases', t + ARGV[2], item)
        if field(id, 'state') == 'queued' then redis.call('HSET', P..'job:'..id, 'state', 'running', 'started', t) end
        -- the time that is left, since the clocks of workers may differ from this one
        local left = deadline > 0 and string.format('%.6f', deadline - t) or ''
        return {id, n, redis.call('HGET', P..'in:'..id, n), attempt, owner, priority, left,
          redis.call('HGET', P..'req:'..id, n)}
      end
    end
  end
end
return nil
"""
)

# lease, then id part token
RENEW = (
    _COMMON
    + """
local answers, until_ = {}, now() + ARGV[1]
for i = 2, #ARGV, 3 do
  local valid = mine(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if valid then redis.call('ZADD', P..'leases', until_, ARGV[i]..':'..ARGV[i + 1]) end
  answers[#answers + 1] = valid and 1 or 0
end
return answers
"""
)

# id part token result done failed keep error
FINISH = (
    _COMMON
    + """
local id, n = ARGV[1], ARGV[2]
if not mine(id, n, ARGV[3]) then return nil end
let_go(id, n)
redis.call('HSET', P..'out:'..id, n, ARGV[4])
if ARGV[6] == '0' then redis.call('HDEL', P..'in:'..id, n) else redis.call('HSET', P..'part:'..id, n..':f', ARGV[6]) end
if ARGV[8] ~= '' then
  redis.call('HSET', P..'job:'..id, 'error', ARGV[8])
  redis.call('ZADD', P..'dead', now(), id)
end
counted(id, ARGV[5], ARGV[6], ARGV[7])
return whole(id)
"""
)

# id part token seconds counted
GIVE_BACK = (
    _COMMON
    + """
local id, n = ARGV[1], ARGV[2]
if not mine(id, n, ARGV[3]) then return 0 end
let_go(id, n)
if ARGV[5] == '0' then redis.call('HINCRBY', P..'part:'..id, n..':a', -1) end
if tonumber(ARGV[4]) > 0 then redis.call('ZADD', P..'delayed', now() + ARGV[4], id..':'..n) else push(id, n, true) end
return 1
"""
)

# id state error keep
END = (
    _COMMON
    + """
if open(ARGV[1]) then final(ARGV[1], ARGV[2], ARGV[3], ARGV[4]) end
return whole(ARGV[1])
"""
)

# id
RETRY = (
    _COMMON
    + """
local id = ARGV[1]
if redis.call('EXISTS', P..'job:'..id) == 0 or open(id) then return whole(id) end
local again = {}
for n = 0, field(id, 'parts') - 1 do
  local failed = tonumber(redis.call('HGET', P..'part:'..id, n..':f') or 0)
  local unfinished = failed > 0 or redis.call('HEXISTS', P..'out:'..id, n) == 0
  if unfinished and redis.call('HEXISTS', P..'in:'..id, n) == 1 then
    again[#again + 1] = n
    local out = redis.call('HGET', P..'out:'..id, n)
    if failed > 0 and out then
      local requests = tonumber(redis.call('HGET', P..'req:'..id, n))
      redis.call('HINCRBY', P..'job:'..id, 'failed', -failed)
      redis.call('HINCRBY', P..'job:'..id, 'done', failed - requests)
    end
    redis.call('HDEL', P..'out:'..id, n)
    redis.call('HDEL', P..'part:'..id, n..':f', n..':a', n..':l', n..':t')
    redis.call('ZREM', P..'leases', id..':'..n)  -- of who had it when the job was cancelled
  end
end
if #again == 0 then return whole(id) end
each(id, 'PERSIST')
local webhook = field(id, 'webhook')
redis.call('HSET', P..'job:'..id, 'state', 'queued', 'error', '', 'deadline', 0, 'finished', 0, 'hook_attempts', 0,
  'webhook_state', webhook ~= '' and 'pending' or '')
redis.call('HINCRBY', P..'open', 'jobs', 1)
redis.call('HINCRBY', P..'open', 'bytes', field(id, 'bytes'))
redis.call('ZREM', P..'dead', id)
redis.call('ZREM', P..'hooks', id)
for _, n in ipairs(again) do push(id, n) end
return whole(id)
"""
)

# id
DELETE = (
    _COMMON
    + """
local id = ARGV[1]
if redis.call('EXISTS', P..'job:'..id) == 0 or open(id) then return 0 end
each(id, 'DEL')
for _, set in ipairs({'created', 'dead', 'hooks', 'deadlines'}) do redis.call('ZREM', P..set, id) end
return 1
"""
)

# losses keep lost
TIDY = (
    _COMMON
    + """
local t, back = now(), 0
for _, item in ipairs(redis.call('ZRANGEBYSCORE', P..'leases', '-inf', t, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', P..'leases', item)
  local id, n = split(item)
  if open(id) then
    redis.call('HDEL', P..'part:'..id, n..':t')
    redis.call('HINCRBY', P..'part:'..id, n..':a', -1)
    if redis.call('HINCRBY', P..'part:'..id, n..':l', 1) >= tonumber(ARGV[1]) then
      bury(id, n, ARGV[3], 'A worker was lost with it again and again.', ARGV[2])
    else
      push(id, n, true)
    end
    back = back + 1
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P..'deadlines', '-inf', t, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', P..'deadlines', id)
  if open(id) then final(id, 'expired', 'Its time was up.', ARGV[2]) end
end
for _, set in ipairs({'created', 'dead', 'hooks'}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P..set, '-inf', t - ARGV[2], 'LIMIT', 0, 200)) do
    if redis.call('EXISTS', P..'job:'..id) == 0 then redis.call('ZREM', P..set, id) end
  end
end
return back
"""
)

# limit seconds
HOOKS = (
    _COMMON
    + """
local t, found = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P..'hooks', '-inf', t, 'LIMIT', 0, ARGV[1])) do
  if redis.call('EXISTS', P..'job:'..id) == 1 then
    redis.call('ZADD', P..'hooks', t + ARGV[2], id)
    found[#found + 1] = {whole(id), redis.call('HINCRBY', P..'job:'..id, 'hook_attempts', 1) - 1}
  else
    redis.call('ZREM', P..'hooks', id)
  end
end
return found
"""
)

# id state again
HOOKED = (
    _COMMON
    + """
-- of a job that was retried meanwhile, another end is announced
if redis.call('EXISTS', P..'job:'..ARGV[1]) == 0 or open(ARGV[1]) then return 0 end
redis.call('HSET', P..'job:'..ARGV[1], 'webhook_state', ARGV[2])
if ARGV[3] == '' then redis.call('ZREM', P..'hooks', ARGV[1])
else redis.call('ZADD', P..'hooks', now() + ARGV[3], ARGV[1]) end
return 1
"""
)
