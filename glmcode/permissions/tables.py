"""What is known of commands: which only look, with which options, and which write what. Data.

LOOKS are allowed by default inside the workspace, with the options written here and no others.
HARMFUL says of other commands which options make them run or write something, so that a rule
with a `*` does not cover those. How descriptions are read stands in options.py. Must not judge.
"""

from __future__ import annotations

from collections.abc import Mapping

from glmcode.permissions.tables_git import Operands

_GREP = (
    "digits -A: -B: -C: -e: -m: -d: -D: -abcEFGhHiIlLnoPqrRsTUuvwxyzZ <-f: <--file= "
    "--extended-regexp --fixed-strings --basic-regexp --perl-regexp --regexp= "
    "--ignore-case --no-ignore-case --invert-match --word-regexp --line-regexp --count "
    "--color? --colour? --files-without-match --files-with-matches --max-count= "
    "--only-matching --quiet --silent --no-messages --byte-offset --with-filename "
    "--no-filename --label= --line-number --initial-tab --null --after-context= "
    "--before-context= --context= --text --binary-files= --exclude= --exclude-dir= "
    "--include= --recursive --dereference-recursive --devices= --directories= "
    "--line-buffered --binary --null-data"
)
LOOKS: Mapping[str, tuple[str, Operands]] = {
    "ls": (
        "-aAbBcCdfFgGhHiIkLlmnNopqQrRsStTuUvwxXZ1 --all --almost-all --author --directory "
        "--classify? --color? --format= --full-time --group-directories-first --human-readable "
        "--inode --indicator-style= --ignore= --hide= --no-group --numeric-uid-gid --quote-name "
        "--recursive --reverse --size --sort= --time= --time-style= --width=",
        "read",
    ),
    "cat": (
        "-AbeEnsTtuv --show-all --number-nonblank --show-ends --number --squeeze-blank "
        "--show-tabs --show-nonprinting",
        "read",
    ),
    "head": ("digits -n: -c: -qvz --lines= --bytes= --quiet --silent --verbose", "read"),
    "tail": (
        "digits -n: -c: -qvzfF -s: --lines= --bytes= --quiet --silent --verbose --follow? --retry "
        "--pid= --sleep-interval=",
        "read",
    ),
    "wc": ("-clmwL --bytes --chars --lines --words --max-line-length --total=", "read"),
    "nl": ("-b: -d: -f: -h: -i: -l: -n: -p -s: -v: -w:", "read"),
    "tac": ("-b -r -s:", "read"),
    "rev": ("", "read"),
    "cut": (
        "-b: -c: -d: -f: -n -s -z --bytes= --characters= --delimiter= --fields= --complement "
        "--only-delimited --output-delimiter= --zero-terminated",
        "read",
    ),
    "paste": ("-d: -s -z", "read"),
    "join": ("-a: -e: -i -j: -o: -t: -v: -1: -2: -z", "read"),
    "comm": ("-123z --check-order --nocheck-order --total --output-delimiter=", "read"),
    "cmp": ("-b -i: -l -n: -s --print-bytes --verbose --quiet --silent", "read"),
    "diff": (
        "digits -abBcdeEfhHiInNpqrstTuUwWyZ -C: -x: -L: --brief --unified? --context? "
        "--recursive --new-file --ignore-case --ignore-all-space --ignore-space-change "
        "--ignore-blank-lines --side-by-side --width= --color? --exclude= --label= "
        "--strip-trailing-cr --text --minimal --report-identical-files --suppress-common-lines",
        "read",
    ),
    "fold": ("-b -s -w:", "read"),
    "fmt": ("-c -s -t -u -w: -p: -g:", "read"),
    "expand": ("-i -t:", "read"),
    "unexpand": ("-a -t:", "read"),
    "column": ("-t -s: -o: -c: -x -N: -R: -J -n:", "read"),
    "tr": ("-c -C -d -s -t", "text"),
    "od": ("-A: -t: -j: -N: -v -w? -a -b -c -d -f -i -l -o -s -x", "read"),
    "hexdump": ("-b -c -C -d -n: -o -s: -v -x", "read"),
    "strings": ("-a -f -n: -t: -o digits", "read"),
    "md5sum": ("-b -t -z", "read"),
    "sha1sum": ("-b -t -z", "read"),
    "sha256sum": ("-b -t -z", "read"),
    "sha512sum": ("-b -t -z", "read"),
    "sha224sum": ("-b -t -z", "read"),
    "sha384sum": ("-b -t -z", "read"),
    "b2sum": ("-b -t -z -l:", "read"),
    "more": ("digits -d -f -l -p -s -u", "read"),
    "zcat": ("-f -q", "read"),
    "shuf": (
        "-n: -e -i: -z --head-count= --echo --input-range= >-o: >--output= <--random-source=",
        "read",
    ),
    "bc": ("-l -q", "read"),
    "cksum": ("-a: --algorithm=", "read"),
    "base64": ("-d -i -w: --decode --wrap=", "read"),
    "file": ("-b -i -L -h -k -z -0 --brief --mime --mime-type --mime-encoding", "read"),
    "stat": ("-L -f -t -c: -x --format= --printf= --dereference --terse", "read"),
    "readlink": ("-f -e -m -n -q -s -v -z", "read"),
    "realpath": ("-e -m -L -P -q -s -z --relative-to= --relative-base=", "read"),
    "basename": ("-a -s: -z", "text"),
    "dirname": ("-z", "text"),
    "du": (
        "-a -b -c -h -H -k -L -m -s -S -x -d: -0 --all --bytes --human-readable --max-depth= "
        "--summarize --total --apparent-size --exclude=",
        "read",
    ),
    "df": ("-a -h -H -i -k -l -P -T -t: -x: --human-readable --total", "read"),
    "tree": (
        "-a -d -l -f -x -L: -P: -I: -i -p -u -g -s -h -D -F -Q -N -r -t -C -n --gitignore "
        "--noreport --dirsfirst --prune --filelimit= >-o:",
        "read",
    ),
    "grep": (_GREP, "pattern"),
    "egrep": (_GREP, "pattern"),
    "fgrep": (_GREP, "pattern"),
    "rg": (
        "digits -A: -B: -C: -e: -E: -g: -j: -m: -M: -r: -t: -T: -d: -.0abcFhHiIlLnNoPpqsSuUvVwx "
        "<-f: <--file= --after-context= --before-context= --context= --color= --colors= "
        "--column --count --count-matches --debug --encoding= --engine= --files "
        "--files-with-matches --files-without-match --fixed-strings --follow --glob= "
        "--glob-case-insensitive --heading --no-heading --hidden --iglob= --ignore-case "
        "--invert-match --json --line-number --no-line-number --line-regexp --max-columns= "
        "--max-count= --max-depth= --max-filesize= --multiline --multiline-dotall --no-config "
        "--no-filename --no-ignore --no-ignore-vcs --no-messages --null --only-matching "
        "--passthru --pcre2 --pretty --quiet --regexp= --replace= --smart-case --sort= --sortr= "
        "--stats --text --threads= --trim --type= --type-not= --type-list --unrestricted "
        "--version --vimgrep --with-filename --word-regexp "
        "!--pre= !--hostname-bin= !-z !--search-zip",
        "pattern",
    ),
    "fd": (
        "-H -I -u -s -i -g -F -a -l -L -p -d: -t: -e: -E: -0 -c: --hidden --no-ignore --type= "
        "--extension= --exclude= --max-depth= --glob !-x: !-X: !--exec= !--exec-batch=",
        "pattern",
    ),
    "sort": (
        "-bcCdfghiMmnrRsuVz -k: -S: -t: --ignore-leading-blanks --dictionary-order "
        "--ignore-case --general-numeric-sort --human-numeric-sort --month-sort "
        "--numeric-sort --random-sort --reverse --sort= --version-sort --check? --merge "
        "--key= --stable --field-separator= --unique --zero-terminated --parallel= "
        "--buffer-size= --batch-size= --debug --random-source= >-o: >--output= "
        "!--compress-program= !-T: !--temporary-directory= !--files0-from=",
        "read",
    ),
    "uniq": (
        "-c -d -D -i -u -z -f: -s: -w: --count --repeated --all-repeated? --ignore-case "
        "--unique --skip-fields= --skip-chars= --check-chars= --group?",
        "one",
    ),
    "xxd": ("-p -l: -s: -c: -g: -u -b -e -i", "one"),
    "jq": (
        "-a -c -C -e -j -M -n -r -R -s -S --arg= --argjson= --tab --indent= --compact-output "
        "--raw-output --raw-input --slurp --sort-keys --null-input --exit-status --stream "
        "<-f: <--from-file=",
        "pattern",
    ),
    "pwd": ("-L -P", "none"),
    "popd": ("", "none"),
    "dirs": ("-l -p -v", "none"),
    "exec": ("", "none"),
    "env": ("-0 --null", "none"),
    "printenv": ("-0 --null", "text"),
    "hash": ("", "text"),
    "help": ("-d -m -s", "text"),
    "umask": ("-S -p", "none"),
    "ulimit": ("-a", "none"),
    "expr": ("digits", "text"),
    "factor": ("", "text"),
    "numfmt": (
        "digits -d: -z --to= --from= --field= --format= --suffix= --padding= --header? --round= "
        "--grouping --invalid= --delimiter=",
        "text",
    ),
    "cal": ("-1 -3 -j -m -y", "text"),
    "getconf": ("-a", "text"),
    "lscpu": ("-J -a -e -p", "none"),
    "lsblk": ("-J -a -d -f -l -o: -p", "none"),
    "pgrep": ("-a -c -d: -f -g: -i -l -n -o -P: -t: -u: -U: -v -x", "text"),
    "pidof": ("-s -x", "text"),
    "exit": ("", "one"),
    "return": ("", "one"),
    "break": ("", "one"),
    "continue": ("", "one"),
    "wait": ("", "text"),
    "jobs": ("-l -p -r -s", "none"),
    "sleep": ("", "text"),
    "seq": ("-f: -s: -w", "text"),
    "whoami": ("", "none"),
    "id": ("-u -g -G -n -r", "text"),
    "groups": ("", "text"),
    "hostname": ("-f -s -i -I -d", "none"),
    "uname": ("-a -s -n -r -v -m -p -i -o", "none"),
    "arch": ("", "none"),
    "nproc": ("--all --ignore=", "none"),
    "uptime": ("-p -s", "none"),
    "free": ("-b -k -m -g -h -t -w", "none"),
    "ps": (
        "-A -a -d -e -f -F -H -j -l -L -M -T -u: -p: -o: -C: -t: -w --forest --sort= --no-headers",
        "text",
    ),
    "date": ("-u -R -I? -d: --date= --utc --rfc-3339= --iso-8601? <-r:", "plus"),
    "which": ("-a", "text"),
    "type": ("-a -t -p -P -f", "text"),
    "command": ("-v -V -p", "text"),
    "tty": ("-s", "none"),
    "locale": ("-a", "none"),
}
BUILTINS = frozenset(
    (
        *("exit", "return", "break", "continue", "wait", "jobs", "type", "command", "popd", "dirs"),
        *("exec", "hash", "help", "umask", "ulimit", "env", "expr", "printenv"),
    )
)
"""Commands of the shell itself and others to which `--version` is a word like any other."""
VERSIONS = frozenset(
    (
        *("python", "python3", "pip", "pip3", "uv", "ruff", "mypy", "black", "node", "npm", "npx"),
        *("tsc", "gcc", "g++", "cc", "clang", "make", "cmake", "ninja", "ruby", "perl", "java"),
        *("javac", "php", "lua", "git", "bash", "tar", "gzip", "zip", "curl", "wget", "ssh"),
        *("docker", "kubectl", "gh", "less", "patch", "split", "gawk", "sed", "awk", "find"),
    )
)
"""Programs that with `--version` and nothing else only say which they are, besides those that look.

Not here: those that a file of the folder turns into another program or that load what it names
(cargo and rustc by rust-toolchain.toml, yarn and pnpm, pytest).
"""
SAYS = frozenset(
    (
        *("python -V", "python3 -V", "node -v", "npm -v", "npx -v", "ruby -v", "perl -v", "php -v"),
        *("java -version", "javac -version", "git -v", "python --help", "python3 --help"),
        *("node --help", "bash --help", "make --help", "gcc --help", "tar --help", "curl --help"),
    )
)
"""The same in other words."""

HARMFUL: Mapping[str, str] = {
    "make": "!-f: !--file= !--makefile= !--eval= !-E: !-I: !--include-dir= -C: --directory= "
    "-j? -k -n -s "
    "-B -i --jobs? --silent --keep-going --dry-run",
    "npm": "!--script-shell= !--node-options= !--userconfig= !--globalconfig= !--prefix= !-C:",
    "pnpm": "!--script-shell= !--prefix= !-C: !--dir=",
    "yarn": "!--cwd= !--script-shell=",
    "cargo": "!--config= !-Z: !--manifest-path= >--target-dir=",
    "go": "whole !-exec= !-toolexec= !-overlay= !-vettool= !-modfile= >-o: >-coverprofile= "
    ">-cpuprofile= >-memprofile= >-blockprofile= >-mutexprofile= >-trace= >-outputdir=",
    "pytest": ">--junitxml= >--junit-xml= >--basetemp= >--result-log= !-p: !-c: !--rootdir= "
    "!--confcutdir=",
    "tar": "!--checkpoint-action= !--to-command= !-I: !--use-compress-program= !--rsh-command= "
    "!--rmt-command= !--info-script= !--new-volume-script= !-F: !-P !--absolute-names",
    "man": "!-P: !--pager= !-H? !--html? !-C: !--config-file= !-X? !-T?",
    "less": "!-k: !--lesskey-file= !--lesskey-src= >-o: >-O: >--log-file= >--LOG-FILE= !-p: !-P:",
    "curl": ">-o: >--output= !-O !--remote-name !--remote-name-all >-D: >--dump-header= >-c: "
    ">--cookie-jar= !-K: !--config= >--output-dir= >--trace= >--trace-ascii= >--stderr= "
    ">--etag-save= >--hsts= >--alt-svc= >--libcurl= !-J <-T: <--upload-file= !-w: !--engine=",
    "wget": ">-O: >--output-document= >-o: >--output-file= >-P: >--directory-prefix= >-a: "
    ">--append-output= !--use-askpass= !-e: !--execute= !--config= >--save-cookies= "
    "<--post-file= <--body-file= !--rejected-log= >--warc-file= >--hsts-file= <-i:",
    "ssh": "!-I: !-o: !-F: !-L: !-R: !-D: !-w: !-E: !-S: !-J:",
    "scp": "!-o: !-S: !-F: !-D: !-J:",
    "sftp": "!-o: !-S: !-F: !-b: !-D: !-J:",
    "rsync": "!-e: !--rsh= !--rsync-path= >--log-file= !--daemon >--backup-dir= >--temp-dir=",
    "zip": ">-lf: !-T !-TT: !--unzip-command= >-O: >--out=",
    "unzip": ">-d:",
    "patch": ">-o: >--output= >-r: >--reject-file= >-d: >--directory=",
    "docker": "!-v: !--volume= !--mount= !--privileged",
    "gcc": "whole >-o: !-B: !-wrapper: !-specs= !-fplugin=",
    "g++": "whole >-o: !-B: !-wrapper: !-specs= !-fplugin=",
    "cc": "whole >-o: !-B:",
    "clang": "whole >-o: !-B: !-fplugin= !-Xclang:",
    "split": "!--filter=",
    "mktemp": "-d -t -u -p: --directory --tmpdir? --suffix=",
    "openssl": ">-out: >-keyout: >-writerand: !-engine: !-provider: !-provider-path: !-config: "
    "<-in:",
    "gpg": ">-o: >--output=",
    "ps": "",
    "vim": "!-c: !--cmd= !-S: !-u: >-w: >-W: !-s:",
    "ruff": ">-o: >--output-file= >--cache-dir= !--config=",
    "mypy": ">--junit-xml= !--config-file= !--python-executable= >--cache-dir=",
    "eslint": ">-o: >--output-file= !--rulesdir= !-c: !--config= "
    "!--resolve-plugins-relative-to= !--plugin= !-f: !--format= !--parser=",
    "date": "!-s: !--set= <-f: <--file=",
    "find": "!-ok",
    "file": "!-C !--compile <-m: <-f:",
    "dmesg": "!-C !-c !-D !-E !-n:",
    "hostname": "!-F: !-b",
}
"""Of commands that are run by a rule: options that a `*` in the rule does not cover.

whole: their options are words; only the first letter may be an option with its value attached.
"""
MILD: Mapping[tuple[str, str], str] = {
    ("pytest", "-p"): r"no:[\w.-]+",
    ("curl", "-w"): r"(?!@)(?:(?!%output).)*",
}
"""Values with which such an option runs and writes nothing after all."""

FOLLOWING: Mapping[str, set[str]] = {
    "grep": {"-R", "--dereference-recursive"},
    "rg": {"-L", "--follow"},
    "fd": {"-L", "--follow"},
    "tree": {"-l"},
    "du": {"-L"},
    "diff": set[str](),
    "egrep": {"-R", "--dereference-recursive"},
    "fgrep": {"-R", "--dereference-recursive"},
}
"""Options with which a command goes through links to folders."""
