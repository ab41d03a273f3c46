-- Counts one request in a sliding window, unless the window is full already.
-- KEYS[1] cordum:velocity:<rule>:<key>   ARGV: now (us), window (us), most in a window, member, "1" to record, key's lifetime (s)
-- Answers {1 when it is over the limit else 0, how many are in the window}. A request that is refused takes no place, so
-- a busy key drains; one that was counted before keeps its place, so asking again changes nothing.
local now, most = tonumber(ARGV[1]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
local count = redis.call('ZCARD', KEYS[1])
if redis.call('ZSCORE', KEYS[1], ARGV[4]) then return {0, count} end
if count >= most then return {1, count} end
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[1], now, ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[6])
  count = count + 1
end
return {0, count}
