-- Takes parked jobs, and pushes each one's time forward so that it comes back by itself if its taker dies.
-- KEYS[1] job:parked:<pool>   ARGV: now (us), latest due time to take (us), most to take, taken until (us, odd)
-- A due time is even while a job waits and odd while somebody has taken it; a taken job is left alone until its time.
local now, found = tonumber(ARGV[1]), {}
local limit = tonumber(ARGV[3])
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, limit + 1000)
for i = 1, #ids, 2 do
  if #found >= limit then break end
  local due = tonumber(ids[i + 1])
  if due <= now or due % 2 == 0 then found[#found + 1] = ids[i] end
end
for _, id in ipairs(found) do redis.call('ZADD', KEYS[1], ARGV[4], id) end
return found
