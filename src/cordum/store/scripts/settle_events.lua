-- Sees to it that the history of an ended job tells of its end, and of no other.
-- KEYS[1] job:events:<id>   ARGV: ttl seconds, how it ended, the ends there are (",A,B,"), the event to add if it lacks
-- An end that was told and never made stays behind where the record's node of a cluster was away and the history's not.
local told = false
local history = redis.call('LRANGE', KEYS[1], 0, -1)
for i = #history, 1, -1 do
  local state = string.match(history[i], '"state":"([%u_]+)"')
  if state and string.find(ARGV[3], ',' .. state .. ',', 1, true) then
    if state == ARGV[2] and not told then
      told = true
    elseif not (state == 'SUCCEEDED' and ARGV[2] == 'OUTPUT_QUARANTINED') then
      redis.call('LREM', KEYS[1], 1, history[i])
    end
  end
end
if not told then
  redis.call('RPUSH', KEYS[1], ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return told and 1 or 0
