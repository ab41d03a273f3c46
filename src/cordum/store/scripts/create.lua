-- Writes a new job record. A record that is there already is left alone.
-- KEYS[1] job:meta:<id>   ARGV: ttl seconds, then field, value, ...
-- Answers 1 when written. Else 0, or 2 when the record is the very one we would have written (a repeated call).
local fields = {unpack(ARGV, 2)}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for i = 1, #fields, 2 do
    if fields[i] == 'created_at' or fields[i] == 'trace_id' or fields[i] == 'tenant' then
      if redis.call('HGET', KEYS[1], fields[i]) ~= fields[i + 1] then return 0 end
    end
  end
  return 2
end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
