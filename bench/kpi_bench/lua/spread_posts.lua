-- Reads posts spread over the whole table. Argument: number of posts.
local id = 0
function init(args)
  posts = tonumber(args[1])
end
function request()
  -- As the step has no divisor in common with the number of posts, all of them are visited.
  id = (id + 7919) % posts
  return wrk.format("GET", "/posts/" .. id + 1)
end
