"""Floor 2: what fills the context window, and what leaves it.

Every module here turns values into values or reads the repository; none talks to an engine,
a session file or a tool. agent.py and agent_*.py join them.
"""
