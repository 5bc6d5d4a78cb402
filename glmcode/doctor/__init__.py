"""`glmcode doctor`: what works on this machine, what does not, and what to do about it.

Each check makes lines (`line.py`) and knows one matter: the machine and its programs
(`machine.py`), a server elsewhere (`server.py`), vLLM and its interpreter (`software.py`), GPUs
(`cards.py`), the model's files (`model.py`). `command.py` runs them side by side, each within a
time limit, because what is asked here may hang. Nothing is changed, started or fetched.
"""
