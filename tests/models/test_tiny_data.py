import itertools
import random
import re

from glmcode import demo_task
from glmcode.base.data import data_folder, prompt_text
from glmcode.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from glmcode.core.transcript import Preamble
from glmcode.glm.template import (
    assistant_pieces,
    preamble_pieces,
    tool_run_pieces,
    user_pieces,
)
from glmcode.glm.tokenizer import GlmTokenizer
from glmcode.tools.specs import load_specs
from models.tiny import data, head
from models.tiny.conversation import Conversation, Piece
from models.tiny.vocabulary import CONTROLS, Codec
from models.tiny.words import NOUNS, VERBS, Words

TINY = data_folder("models") / "tiny"
CODEC = Codec(TINY)


def conversations(count: int, seed: int = 1) -> list[list[Piece]]:
    rng = random.Random(seed)
    words = Words(rng, CODEC.fragments())
    return [data.conversation(rng, words) for _ in range(count)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_seed_always_gives_the_same_conversations() -> None:
    assert conversations(20) == conversations(20)


def test_training_words_and_demo_words_have_nothing_in_common() -> None:
    held = set(demo_task.NOUNS) | set(demo_task.VERBS)
    assert held.isdisjoint(NOUNS)
    assert held.isdisjoint(VERBS)


def test_no_training_conversation_holds_a_function_of_a_demo() -> None:
    names: set[str] = set()
    for seed in range(300):
        names |= set(re.findall(r"^def (\w+)", demo_task.make_task(seed).fixed_text, re.M))
    seen = set(re.findall(r"\w+", " ".join(text_of(p) for p in conversations(400))))
    assert names.isdisjoint(seen)


def operators(fault: demo_task.Fault) -> tuple[str, str]:
    pattern = r"^(?:\w+ (\S+) \w+|(\w+)\(.*\))$"
    right, wrong = (re.fullmatch(pattern, text) for text in (fault.right, fault.wrong))
    assert right is not None
    assert wrong is not None
    return right[1] or right[2], wrong[1] or wrong[2]


def test_training_never_draws_a_fault_that_is_held_for_demos() -> None:
    rng = random.Random(2)
    drawn = {operators(demo_task.draw_fault(rng, held=False)) for _ in range(2000)}
    assert drawn.isdisjoint(demo_task.HELD_FAULTS - {("min", "max")})
    kept = {operators(demo_task.draw_fault(rng, held=True)) for _ in range(2000)}
    assert {pair for pair in kept if pair[0] != pair[1]} == demo_task.HELD_FAULTS


def test_a_disguise_is_never_a_fault_that_is_held_for_demos() -> None:
    rng = random.Random(6)
    words = Words(rng, CODEC.fragments())
    plain = re.compile(r"\w+ \S+ \w+|\w+\([^,]*\)")
    for _ in range(2000):
        fault = demo_task.draw_fault(rng, held=False)
        made = data.disguised(rng, words, fault)
        if plain.fullmatch(made.right) and plain.fullmatch(made.wrong):
            assert operators(made) not in demo_task.HELD_FAULTS


def test_training_never_asks_for_a_constant_that_is_held_for_demos() -> None:
    rng = random.Random(3)
    for held in (False, True):
        for _ in range(500):
            fault = demo_task.draw_fault(rng, held=held)
            number = re.fullmatch(r"\w+ . (\d+)", fault.right)
            if number:
                assert demo_task.held_constant(int(number[1])) == held


def test_two_runs_of_text_never_stand_side_by_side() -> None:
    for pieces in [*conversations(100), head.real_head()]:
        for one, two in itertools.pairwise(pieces):
            assert one.control or two.control


def test_ids_decode_to_the_very_text() -> None:
    for pieces in conversations(50):
        ids, answers = CODEC.encode(pieces)
        assert CODEC.decode(ids) == text_of(pieces)
        assert len(ids) == len(answers)


def test_no_text_becomes_a_control_token() -> None:
    controls = set(CODEC.controls.values())
    for name in CONTROLS:
        assert controls.isdisjoint(CODEC.text_ids(f"a{name}b {name}"))


def test_any_bytes_can_be_written_and_read_back() -> None:
    text = "naïve 中文 🙂\t\r\n\x00 " + "".join(map(chr, range(32, 256)))
    assert CODEC.decode(CODEC.text_ids(text)) == text


def test_a_name_is_the_same_tokens_wherever_it_stands() -> None:
    alone = CODEC.text_ids("gather_pebble")
    size = len(alone)
    for before in ("def ", "test_", "`", "(", "/", "\n", " "):
        ids = CODEC.text_ids(f"{before}gather_pebble(a)")
        assert any(ids[i : i + size] == alone for i in range(len(ids))), before


def test_the_head_is_what_glmcode_sends() -> None:
    preamble = Preamble(specs=load_specs(), system=prompt_text("system.md"))
    sent = GlmTokenizer.load(TINY).encode(preamble_pieces(preamble))
    assert CODEC.encode(head.real_head())[0] == sent


def test_a_conversation_is_what_glmcode_sends() -> None:
    talk = Conversation()
    talk.user("Run it.\nNow.")
    talk.call("Bash", "First.", command="ls", timeout="5")
    talk.result("a\nb\n[exit 0 in 0.1 s]")
    talk.call("Read", "", file_path="a b.py")
    talk.result("")
    talk.say("Done: `a b.py`.")
    talk.user("And now?")
    calls = [
        ToolCall(id="1", name="Bash", arguments={"command": "ls", "timeout": 5}),
        ToolCall(id="2", name="Read", arguments={"file_path": "a b.py"}),
    ]
    sent = GlmTokenizer.load(TINY).encode(
        [
            *user_pieces(UserMessage(text="Run it.\nNow.")),
            *assistant_pieces(AssistantMessage(reasoning="First.", calls=(calls[0],))),
            *tool_run_pieces(
                [ToolMessage(call_id="1", name="Bash", text="a\nb\n[exit 0 in 0.1 s]")]
            ),
            *assistant_pieces(AssistantMessage(calls=(calls[1],))),
            *tool_run_pieces([ToolMessage(call_id="2", name="Read", text="")]),
            *assistant_pieces(AssistantMessage(text="Done: `a b.py`.")),
            *user_pieces(UserMessage(text="And now?")),
        ]
    )
    assert CODEC.encode(talk.pieces)[0] == sent


def test_the_model_writes_from_the_role_token_to_the_stop() -> None:
    talk = Conversation()
    talk.user("Hi.")
    talk.call("Bash", "", command="ls")
    talk.result("x")
    talk.say("Done.")
    written = text_of([piece for piece in talk.pieces if piece.answer])
    assert written == (
        "\n<think></think>\n<tool_call>Bash\n<arg_key>command</arg_key>\n"
        "<arg_value>ls</arg_value>\n</tool_call><|observation|>\n<think></think>\nDone.<|user|>"
    )


def test_heads_vary_and_keep_their_form() -> None:
    rng = random.Random(4)
    words = Words(rng, CODEC.fragments())
    texts = [text_of(head.varied_head(rng, words)) for _ in range(30)]
    assert len(set(texts)) > 15
    assert text_of(head.real_head()) in texts
    for text in texts:
        assert text.startswith("[gMASK]<sop><|system|>\n# Tools\n")
        assert text.count("</tools>\n") == 1


def test_training_covers_every_kind_and_both_test_runners() -> None:
    text = "\n".join(text_of(pieces) for pieces in conversations(400))
    for part in (
        "<tool_call>Bash", "<tool_call>Grep", "<tool_call>Read", "<tool_call>Edit",
        "<tool_call>Write", "FAILED (failures=1)", "short test summary info", "AssertionError: ",
        "[note: ", "not run: ", "error: ", "Working directory: ", "^^^",
    ):  # fmt: skip
        assert part in text, part
