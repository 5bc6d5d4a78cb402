import json
import random
from pathlib import Path

import pytest
import torch

from glmcode.base.data import data_folder
from models.tiny import batches, evaluate, export, train
from models.tiny.model import Shape, TinyGLM
from models.tiny.vocabulary import Codec

TINY = data_folder("models") / "tiny"
MINUSCULE = Shape(width=32, layers=2, heads=2, kv_heads=1, head_width=16, rotated=8, inner=48,
                  moe_from=1, expert_inner=16)  # fmt: skip


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(TINY)


@pytest.fixture(scope="module")
def trained() -> TinyGLM:
    return export.load(TINY)


def test_the_weights_are_small_and_finite(trained: TinyGLM) -> None:
    assert (TINY / "model.safetensors").stat().st_size < 25e6
    count = sum(parameter.numel() for parameter in trained.parameters())
    assert 1e6 < count < 8e6
    assert all(parameter.isfinite().all() for parameter in trained.parameters())


def test_the_config_is_glms_and_fits_the_tokenizer(codec: Codec) -> None:
    config = json.loads((TINY / "config.json").read_text())
    assert config["architectures"] == ["Glm4MoeForCausalLM"]
    assert config["vocab_size"] == codec.size()
    assert config["tie_word_embeddings"] is False
    assert config["num_nextn_predict_layers"] == 0
    assert config["eos_token_id"] == [codec.controls[name] for name in export.STOPS]
    assert config == {**export.config(Shape(), codec)}


def test_unseen_demos_are_solved_and_shuffled_weights_solve_none(
    trained: TinyGLM, codec: Codec
) -> None:
    solved, _ = evaluate.measure(trained, codec, ["demo"], 10)["demo"]
    assert solved >= 9  # measured 40 of 40 with these weights
    mixed = export.load(TINY)
    evaluate.shuffle(mixed)
    solved, missed = evaluate.measure(mixed, codec, ["demo"], 3)["demo"]
    assert solved == 0
    assert missed.total() == 3


def test_a_varied_head_does_not_stop_it(trained: TinyGLM, codec: Codec) -> None:
    solved, _ = evaluate.measure(trained, codec, ["demo"], 6, varied=True)["demo"]
    assert solved >= 5


def test_a_few_steps_of_training_lower_the_loss(codec: Codec) -> None:
    torch.manual_seed(0)
    model = TinyGLM(MINUSCULE)
    batch = batches.Source(codec, random.Random(0)).batch(900, False)
    tools = train.optimizers(model, train.Plan())
    seen = []
    for _ in range(5):
        loss, _ = train.losses(model, batch)
        torch.autograd.backward(loss)
        for tool in tools:
            tool.step()
            tool.zero_grad()
        seen.append(loss.item())
    assert seen[-1] < seen[0] - 0.05


def test_what_is_exported_is_what_was_trained(codec: Codec, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = TinyGLM(MINUSCULE)
    size = export.export(model, codec, tmp_path)
    assert size == (tmp_path / "model.safetensors").stat().st_size
    ids = torch.randint(0, MINUSCULE.vocab, (1, 40))
    with torch.no_grad():
        before = model.logits(model(ids)[0])
        after = (again := export.load(tmp_path)).logits(again(ids)[0])
    assert torch.equal(before, after)


def test_a_shared_head_gives_the_scores_of_the_whole_text() -> None:
    torch.manual_seed(2)
    model = TinyGLM(MINUSCULE)
    ids = torch.randint(0, MINUSCULE.vocab, (1, 500))
    with torch.no_grad():
        whole, _ = model(ids)
        _, past = model(ids[:, :120])
        rest, _ = model(ids[:, 120:].expand(3, -1), past)
    assert torch.allclose(whole[0, 120:], rest[2], atol=1e-4)


def test_batches_hold_rows_of_like_length_and_weigh_the_answers(codec: Codec) -> None:
    source = batches.Source(codec, random.Random(5))
    batch = source.batch(4000, False)
    assert batch.ids.shape == batch.weights.shape
    assert batch.ids.numel() <= 4000
    assert set(batch.weights.unique().tolist()) <= {0.0, 1.0, torch.tensor(0.2).item()}
    assert 8 <= batch.head.shape[1] <= 64
    assert source.batch(4000, True).head.shape[1] >= 64


def test_the_learning_rate_rises_then_holds_then_falls_to_nothing() -> None:
    plan = train.Plan()
    assert train.factor(plan, 0, 0.0) < 0.1
    assert train.factor(plan, 500, plan.hold - 0.01) == 1.0
    assert train.factor(plan, 5000, 0.999) <= 0.01


def test_answers_are_spans_of_what_the_model_writes() -> None:
    flags = [False, True, True, False, False, True]
    assert evaluate.spans(flags) == [(1, 3), (5, 6)]


def test_a_demo_conversation_has_six_answers(codec: Codec) -> None:
    chosen = evaluate.trial("demo", evaluate.FIRST_SEED, codec, varied=False)
    assert len(chosen.spans) == 6


@pytest.mark.parametrize("kind", evaluate.KINDS[1:])
def test_every_kind_can_be_tried(kind: str, codec: Codec) -> None:
    chosen = evaluate.trial(kind, 1, codec, varied=True)
    assert chosen.spans
    assert chosen.spans[-1][1] == len(chosen.ids)


def test_the_card_tells_the_rates_and_that_it_is_no_assistant() -> None:
    card = (TINY / "README.md").read_text()
    assert "not an assistant" in card
    for kind in evaluate.KINDS:
        assert f"| {kind} |" in card
