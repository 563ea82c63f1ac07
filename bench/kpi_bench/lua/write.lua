-- Writes posts. Arguments: prefix of the path, an access token.
function init(args)
  path = args[1] .. "/posts"
  headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[2]}
end
function request()
  local body = '{"title": "A post of the benchmark", "content": "https://example.com/benchmark"}'
  return wrk.format("POST", path, headers, body)
end
