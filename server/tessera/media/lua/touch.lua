-- ARGV: …, then holds
-- Begins the holds of payloads that are there, and renews those that began before.
-- Returns for each the payload's bytes, 0 where it is not there.
local found = {}
for i = 4, #ARGV do
  local hold = ARGV[i]
  local size = refresh(digest_of(hold))
  if size or redis.call('ZSCORE', holds, hold) then
    hold_on(hold)
  elseif redis.call('ZSCORE', idle, digest_of(hold)) then
    -- It lived out its time, or Redis itself threw it out: it takes no room any more.
    forget(digest_of(hold))
  end
  found[#found + 1] = size or 0
end
keep_books()
return found
