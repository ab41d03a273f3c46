-- One move of one job: all or nothing.
-- KEYS[1] job:meta:<id>
-- ARGV: ttl seconds, now (us), new state, allowed states (",A,B,"), number of fences, of fields, of fields to clear,
--       then fence name/value pairs, field name/value pairs, names to clear
-- Answers {"" or what refused, state before, tenant, topic, trace_id, worker_id, attempts, updated_at now in force,
--          created_at, deadline_unix before, result_ptr before}; {"missing"} when there is no such job.
local fences, writes, clears = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local names = {'state', 'tenant', 'topic', 'trace_id', 'worker_id', 'attempts', 'updated_at', 'created_at',
  'deadline_unix', 'result_ptr'}
local at = 8
for _ = 1, fences do
  names[#names + 1] = ARGV[at]
  at = at + 2
end
local held = redis.call('HMGET', KEYS[1], unpack(names))
local state = held[1]
if not state then return {'missing'} end
local refused = ''
if not string.find(ARGV[4], ',' .. state .. ',', 1, true) then
  refused = 'state'
else
  for i = 1, fences do
    if (held[10 + i] or '') ~= ARGV[7 + 2 * i] then
      refused = names[10 + i]
      break
    end
  end
end
if refused == '' then
  local before = tonumber(held[7] or '0')
  local stamp = ARGV[2]
  -- Lists are cached by (id, updated_at), so no two versions of a record may carry the same time.
  if tonumber(stamp) <= before then stamp = string.format('%.0f', before + 1) end
  local write = {'state', ARGV[3], 'updated_at', stamp}
  for i = at, at + 2 * writes - 1 do write[#write + 1] = ARGV[i] end
  redis.call('HSET', KEYS[1], unpack(write))
  at = at + 2 * writes
  if clears > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, at, at + clears - 1)) end
  redis.call('EXPIRE', KEYS[1], ARGV[1])
  held[7] = stamp
end
return {refused, state, held[2], held[3], held[4], held[5], held[6], held[7], held[8], held[9],
  held[10]}
