"""Words into a plan of ``kpi make`` commands, through any endpoint that speaks as OpenAI's chat completions do."""
