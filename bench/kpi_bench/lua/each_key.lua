-- Reads one post with one API key after the other. For one thread. Arguments: path, file with a key on each line.
local number = 0
local keys = {}
function init(args)
  path = args[1]
  for line in io.lines(args[2]) do
    keys[#keys + 1] = line
  end
end
function request()
  number = number % #keys + 1
  return wrk.format("GET", path, {["X-API-Key"] = keys[number]})
end
