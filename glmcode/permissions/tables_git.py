"""What is known of git: subcommands that look, and options of the others that run programs. Data.

Written like tables.py; options.py tells how the descriptions are read. git takes long options cut
short, which options.py knows. Must not judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

Operands: TypeAlias = Literal["read", "text", "pattern", "none", "revs", "one", "name", "plus"]
"""What the words that are no options are: files that are read, just text, a pattern and then
files, nothing, revisions and files of git, at most one word, one known name, or words that begin
with a +."""

_DIFF = (
    "-p -u -s -U: --unified= --raw --patch --patch-with-raw --patch-with-stat --no-patch "
    "--indent-heuristic --minimal --patience --histogram --anchored= --diff-algorithm= --stat? "
    "--compact-summary --numstat --shortstat -X? --dirstat? --summary -z --name-only "
    "--name-status --color? --no-color --color-moved? --no-color-moved --color-moved-ws= "
    "--word-diff? --word-diff-regex= --color-words? --no-renames --check --ws-error-highlight= "
    "--full-index --binary --abbrev? -B? -M? -C? -D --find-renames? --find-copies? -l: "
    "--diff-filter= -S: -G: --find-object= --pickaxe-all --pickaxe-regex -R --relative? "
    "--no-relative -a --text --ignore-cr-at-eol --ignore-space-at-eol -b --ignore-space-change "
    "-w --ignore-all-space --ignore-blank-lines -I: --ignore-matching-lines= "
    "--inter-hunk-context= -W --function-context --exit-code --quiet --no-ext-diff --no-textconv "
    "--ignore-submodules? --src-prefix= --dst-prefix= --no-prefix --default-prefix "
    "--line-prefix= --submodule? -c --cc --combined-all-paths --no-index? "
    "<-O: !--ext-diff !--textconv >--output= >-o:"
)
_LOG = (
    "digits -n: --max-count= --skip= --since= --after= --until= --before= --author= --committer= "
    "--grep= --all-match --invert-grep -i -E -F -P --regexp-ignore-case --extended-regexp "
    "--fixed-strings --perl-regexp --merges --no-merges --min-parents= --max-parents= "
    "--first-parent --not --all --branches? --tags? --remotes? --glob= --exclude= --bisect "
    "--cherry --cherry-mark --cherry-pick --left-only --right-only --left-right -g "
    "--walk-reflogs --merge --boundary --simplify-by-decoration --full-history --dense --sparse "
    "--simplify-merges --ancestry-path? --date-order --author-date-order --topo-order --reverse "
    "--pretty? --format= --abbrev-commit --no-abbrev-commit --oneline --encoding= --notes? "
    "--no-notes !--show-signature --relative-date --date= --parents --children --graph "
    "--show-linear-break? --decorate? --no-decorate --decorate-refs= --source --follow "
    "--full-diff --log-size -L: --no-walk? --do-walk --no-mailmap --mailmap -m "
    "--diff-merges= --no-diff-merges -t --count --objects --timestamp --header"
)
GIT: Mapping[str, tuple[str, Operands]] = {
    "diff": (f"--cached --staged --merge-base -0 -1 -2 -3 {_DIFF}", "revs"),
    "diff-tree": (f"-r -t --root --stdin --no-commit-id -v --pretty? -m {_DIFF}", "revs"),
    "diff-index": (f"--cached -m {_DIFF}", "revs"),
    "diff-files": (f"-q -0 -1 -2 -3 {_DIFF}", "revs"),
    "log": (f"{_LOG} {_DIFF}", "revs"),
    "show": (f"{_LOG} {_DIFF}", "revs"),
    "whatchanged": (f"{_LOG} {_DIFF}", "revs"),
    "rev-list": (f"{_LOG} --disk-usage? --no-object-names --abbrev?", "revs"),
    "shortlog": (
        "-n -s -e -c -w? --numbered --summary --email --group= --all --no-merges "
        "--since= --until= --format= --author=",
        "revs",
    ),
    "reflog": (f"{_LOG}", "revs"),
    "status": (
        "-s -b -v -z --short --branch --show-stash --porcelain? --long --verbose "
        "-u? --untracked-files? --ignore-submodules? --ignored? --column? --no-column "
        "--ahead-behind --no-ahead-behind --renames --no-renames --find-renames?",
        "revs",
    ),
    "blame": (
        "-b -L: -l -t -p -e -f -n -s -w -c -M? -C? --root --show-stats --date= --porcelain "
        "--line-porcelain --incremental --show-name --show-number --show-email --abbrev= "
        "--color-lines --color-by-age --ignore-rev= --encoding= --reverse",
        "revs",
    ),
    "ls-files": (
        "-c -d -m -o -i -s -u -k -z -t -v -f -x: --cached --deleted --modified --others "
        "--ignored --stage --unmerged --killed --directory --no-empty-directory "
        "--exclude= --exclude-standard --full-name --abbrev? --debug --eol "
        "--deduplicate --error-unmatch --recurse-submodules --format= <-X:",
        "revs",
    ),
    "ls-tree": (
        "-d -r -t -l -z --long --name-only --name-status --object-only --full-name "
        "--full-tree --abbrev? --format=",
        "revs",
    ),
    "rev-parse": (
        "-q --quiet --verify --short? --abbrev-ref? --symbolic --symbolic-full-name "
        "--all --branches? --tags? --remotes? --show-toplevel --git-dir --is-bare-repository "
        "--git-common-dir --absolute-git-dir --show-prefix --show-cdup "
        "--is-inside-work-tree --is-inside-git-dir --show-superproject-working-tree "
        "--is-shallow-repository --git-path= --local-env-vars",
        "revs",
    ),
    "merge-base": ("-a --all --octopus --independent --is-ancestor --fork-point", "revs"),
    "describe": (
        "--all --tags --contains --abbrev? --candidates= --exact-match --debug --long "
        "--match= --exclude= --always --first-parent --dirty? --broken?",
        "revs",
    ),
    "name-rev": ("--tags --refs= --exclude= --all --name-only --no-undefined --always", "revs"),
    "for-each-ref": (
        "--count= --sort= --format= --color? --points-at= --merged? --no-merged? "
        "--contains? --no-contains? --ignore-case",
        "text",
    ),
    "show-ref": (
        "--head --heads --branches --tags -d --dereference -s --hash? --verify --abbrev? "
        "-q --quiet",
        "text",
    ),
    "cat-file": ("-t -s -e -p --allow-unknown-type", "revs"),
    "count-objects": ("-v -H --verbose --human-readable", "none"),
    "check-ignore": ("-q -v -n --quiet --verbose --non-matching --no-index", "text"),
    "check-attr": ("-a --all --cached", "text"),
    "grep": (
        "digits -i -v -w -a -I -E -G -P -F -n -l -L -c -o -z -h -H -p -W -q -A: -B: -C: -e: -m: "
        "--ignore-case --invert-match --word-regexp --text --extended-regexp "
        "--basic-regexp --perl-regexp --fixed-strings --line-number --column "
        "--files-with-matches --name-only --files-without-match --count --only-matching "
        "--null --color? --no-color --break --heading --show-function --function-context "
        "--after-context= --before-context= --context= --max-depth= --threads= --cached "
        "--untracked --no-index --exclude-standard --recurse-submodules --full-name "
        "--and --or --not --all-match --quiet --max-count= <-f: "
        "!-O? !--open-files-in-pager? !--ext-grep !--textconv",
        "revs",
    ),
    "branch": (
        "-a -r -v --all --remotes --verbose --list --show-current --color? --no-color "
        "--column? --no-column --sort= --format= --abbrev= --no-abbrev --ignore-case "
        "--contains? --no-contains? --merged? --no-merged? --points-at=",
        "none",
    ),
    "tag": (
        "-l -n? --list --sort= --format= --color? --column? --ignore-case --contains? "
        "--no-contains? --merged? --no-merged? --points-at=",
        "none",
    ),
    "remote": ("-v --verbose", "none"),
    "symbolic-ref": ("-q --quiet --short --recurse --no-recurse", "name"),
    "cherry": ("-v --abbrev?", "revs"),
    "range-diff": (f"--no-dual-color --creation-factor= --left-only --right-only {_DIFF}", "revs"),
    "fsck": (
        "--full --no-dangling --unreachable --connectivity-only --no-progress --strict",
        "revs",
    ),
    "version": ("--build-options", "none"),
    "var": ("-l", "text"),
}
"""Subcommands of git that only look. `branch` and `tag` with names only together with --list."""

GIT_PAIRS: Mapping[tuple[str, str], tuple[str, Operands]] = {
    ("stash", "list"): (f"{_LOG} {_DIFF}", "revs"),
    ("stash", "show"): (f"-u --include-untracked --only-untracked {_DIFF}", "revs"),
    ("remote", "get-url"): ("--push --all", "text"),
    ("config", "--get"): ("--global --local --system --type= --bool --int", "text"),
    ("config", "--list"): (
        "--global --local --system --show-origin --show-scope --name-only",
        "none",
    ),
    ("config", "-l"): ("--global --local --system --show-origin --show-scope --name-only", "none"),
    ("config", "--get-all"): ("--global --local --system --type= --bool --int", "text"),
    ("config", "--get-regexp"): ("--global --local --system --name-only", "text"),
    ("config", "list"): (
        "--global --local --system --show-origin --show-scope --name-only",
        "none",
    ),
    ("remote", "show"): ("-n", "none"),
    ("config", "get"): ("--all --global --local --system", "text"),
    ("worktree", "list"): ("-v --porcelain -z --verbose", "none"),
    ("submodule", "status"): ("--cached --recursive", "text"),
    ("reflog", "show"): (_LOG, "revs"),
    ("notes", "list"): ("", "text"),
    ("bisect", "log"): ("", "none"),
}
GIT_GLOBAL = (
    "-C: -P -p --no-pager --paginate --literal-pathspecs --no-optional-locks --no-replace-objects "
    "--glob-pathspecs --noglob-pathspecs --icase-pathspecs --no-advice !-c: !--config-env= "
    "!--exec-path? !--git-dir= !--work-tree= !--namespace= !--super-prefix= !--bare"
)
GIT_MILD = (
    r"user\.(?:name|email)=[^\n]*|color\.[\w.-]+=\w+|core\.(?:quotepath|abbrev)=\w+|advice\.\w+=\w+"
    r"|log\.(?:date|decorate)=\w+|diff\.(?:renames|algorithm)=\w+|commit\.gpgsign=false"
    r"|init\.defaultbranch=\w[\w/.-]*"
)
"""Settings that `git -c` may give: names and looks, nothing that runs or is a path."""
GIT_HARMFUL: Mapping[str, str] = {
    "push": "!--receive-pack= !--exec=",
    "fetch": "!--upload-pack=",
    "pull": "!--upload-pack=",
    "clone": "!--upload-pack= !-u: !-c: !--config= !--template= >--separate-git-dir=",
    "ls-remote": "!--upload-pack= !--exec=",
    "archive": "!--exec= !--remote= >-o: >--output=",
    "rebase": "!-x: !--exec=",
    "difftool": "!-x: !--extcmd=",
    "format-patch": ">-o: >--output-directory= >--output=",
    "init": "!--template= >--separate-git-dir=",
    "commit": "<-F: <--file= <-t: <--template=",
    "submodule": "",
    "bundle": "",
    "range-diff": ">--output=",
    "fast-export": ">--export-marks=",
    "fast-import": ">--export-marks= >--export-pack-edges=",
    "checkout-index": ">--prefix=",
    "bugreport": ">-o: >--output-directory=",
    "diagnose": ">-o: >--output-directory=",
    "apply": "!--unsafe-paths",
    "cat-file": "!--textconv !--filters",
    "send-email": "!--smtp-server= !--sendmail-cmd= !--to-cmd= !--cc-cmd= !--header-cmd=",
    "svn": "",
}

REFLOG = ("expire", "delete", "drop", "write")
"""What `git reflog` changes; other words are revisions."""

GIT_VALUED = frozenset(
    [
        *("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env"),
        *("--attr-source", "--super-prefix"),
    ]
)
"""Options in front of a subcommand whose value is the next word."""
