"""The files' past: what a workspace held before a turn changed it, and the way back.

A private store in the state folder keeps bytes as they were (store.py); a scan that costs little
where nothing changed tells what there is (scan.py); steps record what each action changed
(recorder.py); an undo is a plan made from steps (plan.py) that is applied file by file (apply.py).
Works with and without git and never touches a repository's index, refs, hooks or configuration.
"""
