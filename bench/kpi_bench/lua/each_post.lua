-- Reads one post after the other, each thread from a different start.
local threads = 0
function setup(thread)
  thread:set("id", threads * 10007)
  threads = threads + 1
end
function request()
  id = id % 20100 + 1
  return wrk.format("GET", prefix .. "/posts/" .. id)
end
function init(args)
  prefix = args[1] or ""
end
