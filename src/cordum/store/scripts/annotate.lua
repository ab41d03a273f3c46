-- Writes fields of a job without moving it.
-- KEYS[1] job:meta:<id>   ARGV: allowed states (",A,B,"), then field, value, ...
-- Answers false when refused, else {state, tenant, updated_at}. The time moves by one microsecond only: enough for every
-- cached copy to be seen as old, too little to make a stuck job look alive.
local held = redis.call('HMGET', KEYS[1], 'state', 'tenant', 'updated_at')
if not held[1] or not string.find(ARGV[1], ',' .. held[1] .. ',', 1, true) then return false end
local stamp = string.format('%.0f', tonumber(held[3] or '0') + 1)
redis.call('HSET', KEYS[1], 'updated_at', stamp, unpack(ARGV, 2))
return {held[1], held[2], stamp}
