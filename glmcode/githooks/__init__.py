"""Hooks of git: put into a repository, taken out again, and run.

place.py finds where hooks lie, install.py puts them there and gives back what was there,
running.py is what git calls, messages.py proposes and judges commit messages. A hook never
writes to the index or the tree, ends within its deadline, and lets git go on unless it was told
to block. Must not start an engine unless that was asked for.
"""
