"""Floor 4: the terminal that people live in. The only place that knows rich and prompt_toolkit.

app.py joins; conversation.py owns the agent and what a person asks of it; view.py turns
events into lines that are printed once (the scrollback is append-only) and a small live
tail; terminal.py and plain.py are the two screens. Nothing here decides permission or
changes a conversation except through Agent.
"""
