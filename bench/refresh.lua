-- Each thread refreshes a session of its own, one token after the other. The tokens come as arguments.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end
function init(args)
  token = args[number + 1]
end
function request()
  local body = '{"refresh_token": "' .. token .. '"}'
  return wrk.format("POST", "/auth/refresh", {["Content-Type"] = "application/json"}, body)
end
function response(status, _, body)
  if status == 200 then
    token = body:match('"refresh_token":"([^"]+)"')
  end
end
