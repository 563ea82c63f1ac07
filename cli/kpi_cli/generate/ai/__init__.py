"""Words into a plan of ``kpi make`` commands, through any endpoint that has OpenAI's API of chat completions."""
