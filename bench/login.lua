-- Signs in to one account after the other, each with the same password. Arguments: prefix, accounts, password.
local next = 0
function init(args)
  prefix, accounts, password = args[1], tonumber(args[2]), args[3]
end
function request()
  next = next % accounts + 1
  local body = '{"username": "' .. prefix .. next .. '", "password": "' .. password .. '"}'
  return wrk.format("POST", "/auth/login", {["Content-Type"] = "application/json"}, body)
end
