-- Continues a chain of audit entries, if it still ends where we think it ends.
-- KEYS[1] audit:chain:{<tenant>}
-- ARGV: hash of the last entry ("" = there is none), oldest moment kept (ms), most entries kept, then seq, hash, entry, ...
-- Answers {} when written, else {seq, hash} of the entry it ends with.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local seq, hash = '0', ''
if last[1] then
  local fields = last[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'seq' then seq = fields[i + 1] elseif fields[i] == 'hash' then hash = fields[i + 1] end
  end
end
if hash ~= ARGV[1] then return {seq, hash} end
local oldest = tonumber(ARGV[2])
for i = 4, #ARGV, 3 do
  local id = redis.call('XADD', KEYS[1], '*', 'seq', ARGV[i], 'hash', ARGV[i + 1], 'event', ARGV[i + 2])
  -- Whatever the clocks say, what was just written stays: the next entry continues it.
  oldest = math.min(oldest, tonumber(string.match(id, '^%d+')))
end
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', oldest))
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[3])
return {}
