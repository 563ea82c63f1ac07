-- Each request has the next one of the tokens given as arguments.
local next = 0
function init(args)
  headers = {}
  for number, token in ipairs(args) do
    headers[number] = {["Authorization"] = "Bearer " .. token}
  end
end
function request()
  next = next % #headers + 1
  return wrk.format("GET", nil, headers[next])
end
