-- Puts a compensation on top of a saga, once.
-- KEYS[1] saga:<workflow>:stack   ARGV: ttl seconds, most entries, the entry
-- Answers 1 when it was put there, 0 when it is there already, -1 when the saga is full.
if redis.call('LPOS', KEYS[1], ARGV[3]) then return 0 end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return -1 end
redis.call('LPUSH', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
