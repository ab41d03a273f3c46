-- Keeps the newest copy of the policy in force, whoever comes last.
-- KEYS[1] cordum:policies   ARGV: its revision, its document
-- Answers 1 when written, 0 when what is there is newer.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])
elseif (tonumber(redis.call('HGET', KEYS[1], 'revision')) or 0) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'document', ARGV[2])
return 1
