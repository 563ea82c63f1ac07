-- Each thread refreshes a session of its own, one token after the other. Arguments: prefix of the path, the tokens.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end
function init(args)
  path, token = args[1] .. "/auth/refresh", args[number + 2]
end
function request()
  local body = '{"refresh_token": "' .. token .. '"}'
  return wrk.format("POST", path, {["Content-Type"] = "application/json"}, body)
end
function response(status, _, body)
  if status == 200 then
    token = body:match('"refresh_token":"([^"]+)"')
  end
end
