#!/usr/bin/env bash
# Repairs until a check passes, for CI: one session, what the check prints goes back into it.
#
#   examples/ci/fix_until_green.sh [options of glmcode] -- python -m pytest -q
#
# TRIES (3) bounds the tries, PATCH (fix.patch) gets what changed, if anything did. The check
# decides, not the model. Exit code 0: it passes (PATCH is empty if it did from the start); 1: it
# does not; 75: no engine now; others as glmcode's.
set -u
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
shift || { echo "usage: fix_until_green.sh [options of glmcode] -- CHECK..." >&2; exit 2; }
[ $# -gt 0 ] || { echo "no check was given after --" >&2; exit 2; }
patch=${PATCH:-fix.patch}
log=$(mktemp) && trap 'rm -f "$log"' EXIT
: >"$patch"
session=
for ((try = 0; ; try++)); do
  if "$@" >"$log" 2>&1 </dev/null; then
    git add --all --intent-to-add -- . ":(exclude)$patch"
    git diff --binary HEAD -- . ":(exclude)$patch" >"$patch"
    echo "green after $try repairs"
    exit 0
  fi
  tail -n 40 "$log"
  [ "$try" -lt "${TRIES:-3}" ] || { echo "still red after $try repairs"; exit 1; }
  # A session goes on with all it has seen; only the first time there is none.
  result=$(tail -c 20000 "$log" | glmcode -p "The check \`$*\` fails; what it printed follows. Find \
the cause and repair it. Do not weaken the check." ${session:+--resume "$session"} \
    --output-format json --time-limit 1800 --max-turns 60 --permission-mode acceptEdits \
    --allowed-tools "Bash($*)" "${options[@]}")
  code=$?
  case $code in
    0 | 3 | 53) ;; # 53: out of budget; the check says whether it was enough
    *) echo "glmcode ended with $code: $result"; exit "$code" ;;
  esac
  session=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["session_id"])' <<<"$result")
done
