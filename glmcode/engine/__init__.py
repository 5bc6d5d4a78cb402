"""Floor 2: everything that knows vLLM: profiles, the supervised process, and its clients.

vLLM and torch are never imported here, except by `bootstrap.py`, which runs in the engine's
own process and perhaps under another interpreter. Must not import the tools, the context
or anything above.
"""
