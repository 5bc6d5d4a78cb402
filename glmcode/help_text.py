"""The text of `glmcode --help`: static, so that help costs nothing; a test compares it with
the parser, option by option."""

HELP = """\
glmcode: a terminal coding agent that owns its engine

usage:
  glmcode [OPTIONS] [PROMPT]            interactive session
  glmcode -p [OPTIONS] [PROMPT]         one turn, no terminal needed; piped stdin is
                                        appended to the prompt, "-" reads the prompt from it
  glmcode review [--staged|--base REF|--pr-file FILE] [--format text|json|sarif|github]
                                        what is wrong with a change; exit code 4: block
  glmcode hook install|uninstall|list|run [NAME...]
                                        hooks of git: review of commits and pushes, messages
  glmcode commit-message                a message for what is staged
  glmcode batch FILE.jsonl [--output DIR] [--worktrees] [--jobs N|auto] [--resume]
                                        many tasks, each a run with its own result and patch
  glmcode sessions list|show|export|rm  the conversations that were had
  glmcode undo [N] [--list|--to ID|--redo] [--dry-run] [--yes] [--force]
                                        take back what the last turns changed in this folder
  glmcode config show|path|set|unset|edit
                                        what is set, by whom, and changing it
  glmcode clean [--dry-run] [--sessions DAYS]
                                        remove old output, logs and checkpoints of glmcode's
  glmcode engine start|stop|restart|sleep|wake|status|logs|plan|profiles|pull|install|bench
  glmcode doctor [--profile NAME] [--deep] [--json]
                                        what works here, what doesn't, and what to do
  glmcode demo [--task-seed N] [--keep] a tiny model on the CPU repairs a failing test
  glmcode map [PATH] [--budget TOKENS] [--focus WORD...]
                                        what a repository defines, the most used first
  glmcode completion bash|zsh|fish      a script for your shell; its --help says where it goes
  glmcode debug parse|render|tokens     the GLM dialect, for looking closely
  glmcode help COMMAND                  what a command takes
  glmcode help stream-json [--schema]   the lines of stream-json, and their JSON Schema
  glmcode -- PROMPT                     a prompt that looks like a command or an option

in a prompt, @FILE, @FILE:10-40, @FOLDER and @"WITH SPACE" are read along. AGENTS.md files of
the repository and of glmcode's config folder are instructions.

options of a run:
  -p, --print                  one turn without a terminal
  --output-format FORMAT       text (default), json or stream-json
  --input-format FORMAT        text (default), or stream-json: a conversation over standard
                               input (glmcode help stream-json)
  --include-partial-messages   stream-json: pieces of messages as they are generated
  --max-turns N                most model steps of a turn (exit code 53 beyond)
  --max-output-tokens N        most tokens that the model generates in the run, its reasoning
                               included; an answer that they cut is kept, not carried out (53)
  --time-limit SECONDS         from the start of the process, waiting included (53)
  -o, --output-last-message FILE
                               also write the last message to FILE
  --output-schema FILE         the answer is one JSON value, an instance of the JSON Schema in
                               FILE; if it can't be, the exit code is 1

options of what may be done:
  --permission-mode MODE       plan, default, acceptEdits, dontAsk or bypassPermissions
  -y, --yolo                   the same as --permission-mode bypassPermissions
  --allowed-tools RULE         allow without asking: Read, 'Bash(git diff *)', 'Edit(src/**)'
  --disallowed-tools RULE      deny, whatever else allows it; both may be repeated, and
                               several rules in one value are separated by commas
  --sandbox MODE               of commands: read-only, workspace-write (default) or
                               danger-full-access (the default with -y)
  --add-dir DIR                a further folder that may be read and changed
  --trust                      for this run, let this folder's own .glmcode/config.toml and
                               what its AGENTS.md imports count

options of the conversation:
  -C, --cd DIR                 work in DIR
  -c, --continue               go on with the session used last in this folder
  -r, --resume [ID]            go on with the session whose id begins so; without an id
                               choose from a list (on a terminal)
  --fork-session               with -c or -r: go on in a copy, under an id of its own
  --system-prompt TEXT         in place of glmcode's own system prompt
  --append-system-prompt TEXT  after it
  --system-prompt-file FILE    as --system-prompt, with the text of FILE
  --append-system-prompt-file FILE
                               as --append-system-prompt, with the text of FILE
  --no-instructions            leave every AGENTS.md out

options of the engine:
  --profile NAME               an engine of this machine (glmcode engine profiles)
  --base-url URL               a server instead, such as http://HOST:PORT/v1, or
                               unix:/PATH of a socket
  --api-key-env VAR            the variable that holds the server's key; commands that the
                               model runs never see it
  -m, --model NAME             the model's name at the server
  --protocol PROTOCOL          tokens or chat; chosen and said if not given
  --thinking on|off|TOKENS     how much the model may think: as it likes (on), not at all, or
                               at most so many tokens in a step (protocol tokens)
  --queue-class CLASS          how urgent this run is where several share an engine:
                               interactive (default on a terminal), scripted (default with
                               -p), hook or background; the environment may say it, too:
                               GLMCODE_ENGINE__QUEUE_CLASS=hook
  --queue-timeout SECONDS      wait so long in the engine's queue, then give up (75)
  --no-wait                    give up at once if the engine serves others now (75)
  --set KEY=VALUE              any setting, such as tools.result_chars=20000

others:
  --verbose                    tokens, cache hits and seconds per step
  --plain                      lines in order, without cursor movement: for screen readers
  -v, --version                print the version
  -h, --help                   print this

exit codes: 0 done; 1 error; 2 usage; 3 an action needed an answer that nobody could give;
4 the verdict of a review is block; 53 turn, time or token budget used up; 75 engine busy, loading,
unreachable or stuck (try later); 130 interrupted; 143 terminated
"""
