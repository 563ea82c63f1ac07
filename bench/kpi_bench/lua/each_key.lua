-- Reads one post with one credential after the other. For one thread. Arguments: path, name of the header field, file with a
-- value on each line, and optionally the pause of each connection between two requests, in milliseconds.
local number = 0
local values = {}
function init(args)
  path, field, pause = args[1], args[2], tonumber(args[4])
  for line in io.lines(args[3]) do
    values[#values + 1] = line
  end
  if pause then
    -- Between half of it and one and a half, so that the connections do not send at the same moments.
    delay = function() return math.random(pause / 2, pause * 3 / 2) end
  end
end
function request()
  number = number % #values + 1
  return wrk.format("GET", path, {[field] = values[number]})
end
