-- One person's yes on a parked job: counted once a person; the last one needed makes the move, in the same step.
-- KEYS[1] job:meta:<id>
-- ARGV: ttl seconds, now (us), new state, state it must stand in, votes needed, who votes, the vote (JSON),
--       number of fences, of fields to refresh, of fields of the move, then the names of the fences and their values,
--       field name/value pairs to refresh, field name/value pairs of the move
-- Answers what transition.lua answers, and {votes now, "made" | "counted" | "repeated"}; {"missing"} without a record.
local needed, who, vote = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local fences, refreshed, writes = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local held = redis.call('HMGET', KEYS[1], 'state', 'tenant', 'topic', 'trace_id', 'worker_id', 'attempts',
  'updated_at', 'created_at', 'deadline_unix', 'result_ptr', unpack(ARGV, 11, 10 + fences))
local state = held[1]
if not state then return {'missing'} end
local stamp = held[7] or '0'
local function answer(refused, votes, outcome)
  return {refused, state, held[2], held[3], held[4], held[5], held[6], stamp, held[8], held[9], held[10], votes, outcome}
end
if state ~= ARGV[4] then return answer('state', 0, '') end
for i = 1, fences do
  if (held[10 + i] or '') ~= ARGV[10 + fences + i] then return answer(ARGV[10 + i], 0, '') end
end
local at = 11 + 2 * fences
if refreshed > 0 then redis.call('HSET', KEYS[1], unpack(ARGV, at, at + 2 * refreshed - 1)) end
at = at + 2 * refreshed
local text = redis.call('HGET', KEYS[1], 'approval_votes')
if not text or text == '' then text = '[]' end
local readable, votes = pcall(cjson.decode, text)
if not readable or type(votes) ~= 'table' then text, votes = '[]', {} end
local outcome = 'counted'
for _, given in ipairs(votes) do
  if given['who'] == who then outcome = 'repeated' end
end
local count = #votes
if outcome == 'counted' then
  -- Put together as text: what the votes say is kept to the letter.
  text = string.sub(text, 1, -2) .. (count > 0 and ',' or '') .. vote .. ']'
  count = count + 1
end
local before = tonumber(stamp)
if count >= needed then
  outcome = 'made'
  stamp = ARGV[2]
  if tonumber(stamp) <= before then stamp = string.format('%.0f', before + 1) end
  redis.call('HSET', KEYS[1], 'state', ARGV[3], 'updated_at', stamp, 'approval_votes', text,
    unpack(ARGV, at, at + 2 * writes - 1))
  redis.call('EXPIRE', KEYS[1], ARGV[1])
elseif outcome == 'counted' or refreshed > 0 then
  stamp = string.format('%.0f', before + 1)
  redis.call('HSET', KEYS[1], 'updated_at', stamp, 'approval_votes', text)
end
return answer('', count, outcome)
