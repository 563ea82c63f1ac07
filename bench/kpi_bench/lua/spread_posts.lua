-- Asks for posts from all over the table, each one in turn after many steps. Argument: how many posts there are.
local id = 0
function init(args)
  posts = tonumber(args[1])
end
function request()
  -- A step that shares no divisor with the number of posts visits all of them.
  id = (id + 7919) % posts
  return wrk.format("GET", "/posts/" .. id + 1)
end
