-- Record the outcome of a webhook delivery.
-- ARGV: job webhook_state retry_after (empty for no other attempt) error total
redis.call('HINCRBY', P..'totals', ARGV[5], 1)
-- A job that was retried meanwhile will end again, with a delivery of its own.
if redis.call('EXISTS', P..'job:'..ARGV[1]) == 0 or is_open(ARGV[1]) then return 0 end
redis.call('HSET', P..'job:'..ARGV[1], 'webhook_state', ARGV[2], 'webhook_error', ARGV[4])
if ARGV[3] == '' then redis.call('ZREM', P..'hooks', ARGV[1])
else redis.call('ZADD', P..'hooks', now() + ARGV[3], ARGV[1]) end
return 1
