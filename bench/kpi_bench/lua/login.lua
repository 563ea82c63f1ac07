-- Signs in to one account after the other, each with the same password. Arguments: prefix of the path, password,
-- prefix of the names, number of accounts.
local next = 0
function init(args)
  path, password, names, accounts = args[1] .. "/auth/login", args[2], args[3], tonumber(args[4])
end
function request()
  next = next % accounts + 1
  local body = "username=" .. names .. next .. "&password=" .. password
  return wrk.format("POST", path, {["Content-Type"] = "application/x-www-form-urlencoded"}, body)
end
