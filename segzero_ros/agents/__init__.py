"""`segzero mcp`: the running node as tools of an agent, by the Model Context Protocol."""
