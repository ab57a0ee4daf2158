-- Prepended to every script. KEYS: any key of batches, all of which share a slot. ARGV: prefix, then what the script says.
-- There are:
--
--   open             sorted set  ids of batches that have not ended, by when somebody may take them up (ms)
--   open:TENANT      set         those of a tenant
--   of:TENANT        sorted set  ids of a tenant's batches, by when they were made (s)
--   batch:ID         hash        record, status, epoch, how far it has come, when it got each status
--   buffer:ID:KIND   string      lines for a file that are in no part of it yet; KIND: output or error
--   parts:ID:KIND    list        bytes and place of each part of a file

local prefix = ARGV[1]
local open = prefix .. 'open'
local time = redis.call('TIME')
local now_s, now = tonumber(time[1]), time[1] * 1000 + math.floor(time[2] / 1000)

local function batch_key(id) return prefix .. 'batch:' .. id end
local function buffer_key(id, kind) return prefix .. 'buffer:' .. id .. ':' .. kind end
local function parts_key(id, kind) return prefix .. 'parts:' .. id .. ':' .. kind end

-- Whether a batch is still with who has this epoch.
local function holds(id, epoch) return redis.call('HGET', batch_key(id), 'epoch') == epoch end

local function enter(id, status) redis.call('HSET', batch_key(id), 'status', status, status .. '_at', now_s) end
