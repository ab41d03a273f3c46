-- Makes a token a worker's session, in place of the one it has.
-- KEYS[1] session:worker:<id>
-- ARGV: jti, exp (Unix seconds), tenant, ttl seconds, now (Unix seconds), jti it renews or "", seconds the renewed one
--       goes on to hold
-- Answers {"issued", jtis that hold no more...}, or {"gone"} when the one to be renewed is not the worker's any more.
local text = redis.call('GET', KEYS[1])
local held = {}
if text then
  local readable, stored = pcall(cjson.decode, text)
  if readable and type(stored) == 'table' then held = stored end
end
local now, renewed = tonumber(ARGV[5]), ARGV[6]
local prior = held['prior_jti']
if prior == '' then prior = nil end
local prior_until = tonumber(held['prior_until']) or 0
local answer = {'issued'}
local record = {jti = ARGV[1], exp_unix = tonumber(ARGV[2]), tenant = ARGV[3], prior_jti = '', prior_until = 0}
if renewed ~= '' then
  if renewed ~= held['jti'] and not (renewed == prior and prior_until > now) then return {'gone'} end
  record['prior_jti'], record['prior_until'] = renewed, now + tonumber(ARGV[7])
  -- Renewing once more what was renewed already: the worker never got the token in between.
  if renewed == prior then record['prior_until'] = prior_until end
end
for _, jti in ipairs({held['jti'] or '', prior or ''}) do
  if jti ~= '' and jti ~= record['prior_jti'] then table.insert(answer, jti) end
end
redis.call('SET', KEYS[1], cjson.encode(record), 'EX', ARGV[4])
return answer
