"""Floor 0: the conversation itself, in plain values and one loop.

Standard library only. Nothing here touches files, sockets, clocks or the
environment; whatever the loop needs from the world is handed to it as a function.
"""
