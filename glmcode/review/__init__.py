"""Review of a diff: what changed, what is wrong with it, and where.

diff.py reads diffs, source.py gets them from git, findings.py maps what a model says to lines
of the new files, judging.py asks, formats.py prints. Must not change a file or the index.
"""
