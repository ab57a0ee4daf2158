-- KEYS: any key of the model
-- ARGV: prefix, 5 limits (see `limits_from`), then for each job: id, epoch
-- Sets jobs aside that their worker cannot read. Returns what `keep_letter` returns for each.
local prefix, limits, letters = ARGV[1], limits_from(2), {}
for i = 7, #ARGV, 2 do
  local job = fields_of(prefix, ARGV[i], 'epoch', 'state')
  if job[1] == ARGV[i + 1] and job[2] == 'leased' then set_aside_damaged(prefix, ARGV[i], 'meta', limits, letters) end
end
return letters
