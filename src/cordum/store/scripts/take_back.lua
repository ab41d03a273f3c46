-- Removes a record that was just created, if nobody has touched it since.
-- KEYS[1] job:meta:<id>   ARGV: state, updated_at, trace_id it was created with
-- Answers 1 when there is no record now, else 0.
local held = redis.call('HMGET', KEYS[1], 'state', 'updated_at', 'trace_id')
if not held[1] then return 1 end
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] or (held[3] or '') ~= ARGV[3] then return 0 end
return redis.call('DEL', KEYS[1])
