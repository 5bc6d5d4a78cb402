"""Floor 1: the GLM dialect, pure: messages to pieces to token ids, and back.

Loading a tokenizer file is the only thing here that touches the disk. Must not know
engines, tools, clocks or the environment.
"""
