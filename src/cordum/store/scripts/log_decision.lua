-- Writes one decision and its place in each index. All keys carry the tenant as their hash tag, so they are on one node.
-- KEYS[1] gov:dec:{<tenant>}:rec:<id>, then the indexes
-- ARGV: lifetime (s), moment (ms), id, number of fields and values, lifetime of indexes (s), then per index "1" when it
--       is to be tended, then field, value, ...
local first = 5 + #KEYS
redis.call('HSET', KEYS[1], unpack(ARGV, first, first + tonumber(ARGV[4]) - 1))
redis.call('EXPIRE', KEYS[1], ARGV[1])
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[2], ARGV[3])
  if ARGV[4 + i] == '1' then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[2] - ARGV[1] * 1000)
    redis.call('EXPIRE', KEYS[i], ARGV[5])
  end
end
return 1
