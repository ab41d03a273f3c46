-- Replaces a document if it still has the revision we read; 0 means there must be none.
-- KEYS[1] cfg:<scope>:<id>   ARGV: expected revision, new document
-- Answers -1 when written, else the revision in force.
local stored = redis.call('GET', KEYS[1])
local revision = 0
if stored then
  local readable, document = pcall(cjson.decode, stored)
  if not readable or type(document) ~= 'table' then return -2 end
  revision = tonumber(document['revision']) or 0
end
if revision ~= tonumber(ARGV[1]) then return revision end
redis.call('SET', KEYS[1], ARGV[2])
return -1
