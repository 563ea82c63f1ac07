-- Votes for one post after the other, first by one user, then by the next, so that no vote is repeated. For one thread.
-- Arguments: prefix of the path, number of posts, the users' access tokens.
local votes = 0
function init(args)
  path, posts, tokens = args[1] .. "/votes", tonumber(args[2]), args
end
function request()
  local token = tokens[3 + math.floor(votes / posts)]
  local body = '{"post_id": ' .. votes % posts + 1 .. ', "direction": 1}'
  votes = votes + 1
  return wrk.format("POST", path, {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. token}, body)
end
