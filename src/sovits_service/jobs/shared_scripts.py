"""Changes of shared jobs that Redis makes as one: Lua, of which KEYS[1] is the prefix of all keys.

`<prefix><id>` is a job's hash, `<prefix><id>:plans` and `:outcomes` have its fragments by number, `<prefix><id>:lease`
names who works on it. `<prefix>all` and `<prefix>unfinished` are jobs by the time when they came,
`<prefix>of:<owner>` those of an owner, and `<prefix>bytes` is what all their files take.
"""

from __future__ import annotations

# id, owner, bound, time, then names and values. 0: the owner has too many.
ADD = """
local key = KEYS[1] .. ARGV[1]
local owned = KEYS[1] .. 'of:' .. ARGV[2]
if redis.call('SCARD', owned) >= tonumber(ARGV[3]) then
  redis.call('DEL', key .. ':plans')
  return 0
end
for i = 5, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
redis.call('PERSIST', key .. ':plans')
redis.call('SADD', owned, ARGV[1])
redis.call('ZADD', KEYS[1] .. 'all', ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[1] .. 'unfinished', ARGV[4], ARGV[1])
return 1
"""
# token, lease in ms. The id of the oldest job that nobody works on.
CLAIM = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[1] .. 'unfinished', 0, -1)) do
  if redis.call('SET', KEYS[1] .. id .. ':lease', ARGV[1], 'NX', 'PX', ARGV[2]) then return id end
end
return false
"""
_IF_MINE = """
local key = KEYS[1] .. ARGV[1]
if redis.call('GET', key .. ':lease') ~= ARGV[2] then return 0 end
"""
# id, token, lease in ms.
RENEW = (
    _IF_MINE
    + """
redis.call('PEXPIRE', key .. ':lease', ARGV[3])
return 1
"""
)
# id, token.
RELEASE = (
    _IF_MINE
    + """
redis.call('DEL', key .. ':lease')
return 1
"""
)
# id, token, number, outcome, done, failed, misfits, characters, seconds, bytes.
FINISH = (
    _IF_MINE
    + """
if redis.call('HSETNX', key .. ':outcomes', ARGV[3], ARGV[4]) == 1 then
  redis.call('HINCRBY', key, 'done', ARGV[5])
  redis.call('HINCRBY', key, 'failed', ARGV[6])
  redis.call('HINCRBY', key, 'misfits', ARGV[7])
  redis.call('HINCRBY', key, 'characters_done', ARGV[8])
  redis.call('HINCRBYFLOAT', key, 'duration_s', ARGV[9])
  redis.call('HINCRBY', key, 'bytes', ARGV[10])
  redis.call('INCRBY', KEYS[1] .. 'bytes', ARGV[10])
end
return 1
"""
)
# id, token, state, message, time. The end of a job is the end of its lease.
SET_STATE = (
    _IF_MINE
    + """
redis.call('HSET', key, 'state', ARGV[3], 'message', ARGV[4])
if ARGV[3] == 'running' then
  local before = redis.call('HGET', key, 'characters_done') or 0
  redis.call('HSET', key, 'started_s', ARGV[5], 'characters_before', before)
elseif ARGV[3] == 'done' or ARGV[3] == 'failed' then
  redis.call('HSET', key, 'finished_s', ARGV[5])
  redis.call('ZREM', KEYS[1] .. 'unfinished', ARGV[1])
  redis.call('DEL', key .. ':lease')
end
return 1
"""
)
# id, characters of the fragments that could not be spoken, their numbers. 0: the job has not failed.
RETRY = """
local key = KEYS[1] .. ARGV[1]
if redis.call('HGET', key, 'state') ~= 'failed' then return 0 end
for i = 3, #ARGV do redis.call('HDEL', key .. ':outcomes', ARGV[i]) end
redis.call('HINCRBY', key, 'characters_done', 0 - tonumber(ARGV[2]))
redis.call('HSET', key, 'state', 'queued', 'message', '', 'finished_s', 0, 'started_s', 0, 'failed', 0)
redis.call('ZADD', KEYS[1] .. 'unfinished', redis.call('HGET', key, 'created_s'), ARGV[1])
return 1
"""
# id, bytes of a file that was made of all fragments.
KEEP = """
local key = KEYS[1] .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HINCRBY', key, 'bytes', ARGV[2])
redis.call('INCRBY', KEYS[1] .. 'bytes', ARGV[2])
return 1
"""
# id.
DELETE = """
local key = KEYS[1] .. ARGV[1]
local owner = redis.call('HGET', key, 'owner')
if owner then
  redis.call('DECRBY', KEYS[1] .. 'bytes', redis.call('HGET', key, 'bytes') or 0)
  redis.call('SREM', KEYS[1] .. 'of:' .. owner, ARGV[1])
end
redis.call('DEL', key, key .. ':plans', key .. ':outcomes', key .. ':lease')
redis.call('ZREM', KEYS[1] .. 'all', ARGV[1])
redis.call('ZREM', KEYS[1] .. 'unfinished', ARGV[1])
return 1
"""
