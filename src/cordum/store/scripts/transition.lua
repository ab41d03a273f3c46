-- One move of one job: all or nothing.
-- KEYS[1] job:meta:<id>
-- ARGV: ttl seconds, now (us), new state, allowed states (",A,B,"), number of fences, of fields, of fields to clear,
--       then the names of the fences and their values, field name/value pairs, names to clear
-- Answers {"" or what refused, state before, tenant, topic, trace_id, worker_id, attempts, updated_at now in force,
--          created_at, deadline_unix before, result_ptr before}; {"missing"} when there is no such job.
local fences, writes, clears = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local held = redis.call('HMGET', KEYS[1], 'state', 'tenant', 'topic', 'trace_id', 'worker_id', 'attempts',
  'updated_at', 'created_at', 'deadline_unix', 'result_ptr', unpack(ARGV, 8, 7 + fences))
local state = held[1]
if not state then return {'missing'} end
local refused = ''
if not string.find(ARGV[4], ',' .. state .. ',', 1, true) then
  refused = 'state'
else
  for i = 1, fences do
    if (held[10 + i] or '') ~= ARGV[7 + fences + i] then
      refused = ARGV[7 + i]
      break
    end
  end
end
local stamp = held[7] or '0'
if refused == '' then
  local before = tonumber(stamp)
  stamp = ARGV[2]
  -- Lists are cached by (id, updated_at), so no two versions of a record may carry the same time.
  if tonumber(stamp) <= before then stamp = string.format('%.0f', before + 1) end
  local at = 8 + 2 * fences
  redis.call('HSET', KEYS[1], 'state', ARGV[3], 'updated_at', stamp, unpack(ARGV, at, at + 2 * writes - 1))
  at = at + 2 * writes
  if clears > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, at, at + clears - 1)) end
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return {refused, state, held[2], held[3], held[4], held[5], held[6], stamp, held[8], held[9], held[10]}
