-- Searches for one word after the other. Arguments: prefix of the path, the words.
local next = 0
function init(args)
  path, words = args[1] .. "/posts?limit=10&search=", args
end
function request()
  next = next % (#words - 1) + 1
  return wrk.format("GET", path .. words[next + 1])
end
