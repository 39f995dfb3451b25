-- A fence in the script that has the effect: Redis runs a script as one step. A stale holder changes nothing.
-- KEYS[1] the key of the fence (never given a time to live: a fence that is forgotten protects nothing)
-- KEYS[2], ARGV[2] the effect: here a value that is set. Without them it only remembers the fence.
-- ARGV[1] the fence. Returns the highest there is; higher than ARGV[1]: the caller was refused.

local newest = tonumber(redis.call('GET', KEYS[1]) or '0')
local fence = tonumber(ARGV[1])
if fence < newest then return newest end
redis.call('SET', KEYS[1], ARGV[1])
if KEYS[2] then redis.call('SET', KEYS[2], ARGV[2]) end
return fence
