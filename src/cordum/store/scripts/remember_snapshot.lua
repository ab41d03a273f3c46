-- Puts a policy snapshot's id first, unless it is first already.
-- KEYS[1] cordum:safety:snapshots   ARGV: the id, how many are kept
-- Answers 1 when written, else 0.
if redis.call('LINDEX', KEYS[1], 0) == ARGV[1] then
  return 0
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[2]) - 1)
return 1
