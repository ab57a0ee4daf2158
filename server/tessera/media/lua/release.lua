-- ARGV: …, then holds
-- Ends them. Returns for each 1, or 0 where there was none.
local ended = {}
for i = 4, #ARGV do ended[#ended + 1] = let_go(ARGV[i]) end
keep_books()
return ended
