-- Writes a new job record. A record that is there already is left alone.
-- KEYS[1] job:meta:<id>   ARGV: ttl seconds, then field, value, ...
-- Answers 1 when written. Else 0, or 2 when the record is the very one we would have written (a repeated call).
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
  redis.call('EXPIRE', KEYS[1], ARGV[1])
  return 1
end
for i = 2, #ARGV, 2 do
  if ARGV[i] == 'created_at' or ARGV[i] == 'trace_id' or ARGV[i] == 'tenant' then
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
  end
end
return 2
