-- Writes messages to one conversation after the other. For one thread. Arguments: token, and the ids of the conversations.
local number = 0
local ids = {}
function init(args)
  token = args[1]
  for index = 2, #args do
    ids[#ids + 1] = args[index]
  end
end
function request()
  number = number % #ids + 1
  local fields = {["Authorization"] = "Bearer " .. token, ["Content-Type"] = "application/json"}
  return wrk.format("POST", "/api/v1/conversations/" .. ids[number] .. "/messages", fields, '{"content": "a message of the benchmark"}')
end
