"""`segzero serve`: a bundle's reasoner for several robots, by the OpenAI protocol; needs starlette and uvicorn."""
