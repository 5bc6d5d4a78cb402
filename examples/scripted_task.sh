#!/usr/bin/env bash
# One scripted task: ask for a change, look at the exit code, read the result line.
#
#   examples/scripted_task.sh "Rename the function load to read_config" [glmcode options]
#
# The caller decides what may be done: here edits, and the one command that runs the tests.
set -u
prompt=${1:?"usage: scripted_task.sh PROMPT [glmcode options]"}
shift
result=$(glmcode -p "$prompt" --output-format json --time-limit 900 --max-turns 40 \
  --permission-mode acceptEdits --allowed-tools 'Bash(python -m pytest *)' "$@" </dev/null)
code=$?
field() { python3 -c 'import json,sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1" <<<"$result"; }
case $code in
  0) echo "done in $(field num_turns) steps: $(field result)" ;;
  3) echo "done, but something needed a permission: $(field permission_denials)" ;;
  53) echo "the budget was used up: $(field error)" ;;
  75) echo "no engine now, try again later: $(field error)" ;;
  *) echo "failed ($code): $(field error)" ;;
esac
exit "$code"
