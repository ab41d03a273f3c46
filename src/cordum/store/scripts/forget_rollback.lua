-- Forgets a rollback that has been made, unless it was asked for anew meanwhile.
-- KEYS[1] saga:rollbacks   ARGV: member, the time it was asked for (as ZSCORE gave it)
-- Answers 1 when it is forgotten, or nobody knows of it; 0 when it was asked for again.
local asked = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not asked then return 1 end
if asked ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
