-- KEYS: any key of the model
-- ARGV: prefix, id, channel of a gateway
-- Has what is written of a job's reply told on one more channel. Whoever asks reads the log after that.
local MOST = 16
local key = job_key(ARGV[1], ARGV[2])
local job = fields_of(ARGV[1], ARGV[2], 'state', 'reply_to', 'followers')
if (job[1] ~= 'queued' and job[1] ~= 'leased') or job[2] == ARGV[3] then return end
local channels = unpacked(job[3])
for _, channel in ipairs(channels) do
  if channel == ARGV[3] then return end
end
channels[#channels + 1] = ARGV[3]
-- Those of gateways that left stay until the job's end. One that is dropped looks into the log every now and then.
if #channels > MOST then table.remove(channels, 1) end
redis.call('HSET', key, 'followers', cmsgpack.pack(channels))
