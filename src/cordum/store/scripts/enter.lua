-- Counts a job among those that run at once, unless there are as many as may.
-- KEYS[1] job:running:<scope>   ARGV: now (us), counts until (us), most at once, job id
-- Answers {1 when it counts now else 0, how many there are}. A job that counts already is never one too many; whoever
-- did not renew its place in time has none any more.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local count = redis.call('ZCARD', KEYS[1])
if not redis.call('ZSCORE', KEYS[1], ARGV[4]) then
  if count >= tonumber(ARGV[3]) then return {0, count} end
  count = count + 1
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[4])
redis.call('PEXPIREAT', KEYS[1], math.floor(tonumber(ARGV[2]) / 1000) + 60000)
return {1, count}
