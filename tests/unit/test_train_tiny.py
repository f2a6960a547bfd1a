"""The training of the tiny family: tokenizer, loop, archives; no network is trained to any use here."""

from __future__ import annotations

import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from braindec.datasets.simulated.captions import captions_of
from braindec.datasets.simulated.plan import plan_scene
from braindec.frozen.beams import Search

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def _scripts_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for name in [n for n in sys.modules if n.startswith("tiny_family")]:
        del sys.modules[name]


class _Clock:
    """A clock that every reading moves on by a millisecond: as many steps on a slow machine as on a fast one."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _run(tmp_path, monkeypatch, seconds):
    from tiny_family import loop, plan

    clock = _Clock()
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(plan, "time", clock)
    return plan.Run(tmp_path, None, 0.0, seconds / plan.STAGES["judge"].end, "cpu", False, False, 1.0, 0, plan.STAGES)


def test_tokenizer_has_a_token_for_every_word_of_the_captions(tmp_path):
    pytest.importorskip("transformers")
    from tiny_family.plan import TEXT_LENGTH
    from tiny_family.words import build_tokenizer, save_tokenizer

    from braindec.frozen.hub import load_tokenizer

    save_tokenizer(build_tokenizer(1000), tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    texts = [text for index in range(50_000, 50_200) for text in captions_of(plan_scene(0, index))]
    for text in texts:
        pieces = tokenizer.tokenize(text)
        assert all(piece.endswith("</w>") for piece in pieces), pieces
        assert len(pieces) + 2 <= TEXT_LENGTH
    ids = tokenizer(texts[0]).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == texts[0]


def test_loop_lowers_the_loss_and_keeps_its_curve(tmp_path, monkeypatch):
    from tiny_family.loop import Recipe, fit

    torch.manual_seed(0)
    network, x = nn.Linear(4, 1), torch.randn(64, 4)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    run = _run(tmp_path, monkeypatch, 2.0)
    found = fit("judge", run, network, lambda: {"loss": ((network(x) - y) ** 2).mean()}, Recipe(rate=0.05, warmup=1))
    assert found["last_loss"] < 0.05 * found["first_loss"]
    assert not network.training
    lines = (tmp_path / "curves" / "judge.csv").read_text().splitlines()
    assert lines[0] == "step,seconds,rate,norm,loss"
    assert len(lines) > 3


def test_a_step_with_gradients_that_are_not_finite_changes_nothing(tmp_path, monkeypatch):
    from tiny_family.loop import Recipe, fit

    network = nn.Linear(2, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fit(
        "judge",
        _run(tmp_path, monkeypatch, 0.1),
        network,
        lambda: {"loss": network(torch.ones(1, 2)).mean() * torch.nan},
        Recipe(0.1),
    )
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key])


def test_archives_stay_below_the_limit_and_hold_every_file(tmp_path, monkeypatch):
    from tiny_family import pack

    monkeypatch.setattr(pack, "LIMIT", 1000)
    folders = []
    for name, size in (("a", 700), ("b", 600), ("c", 250), ("d", 90)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "weights").write_bytes(b"x" * size)
        folders.append(folder)
    card = tmp_path / "README.md"
    card.write_text("card")
    archives = pack.pack_networks(folders, [card], tmp_path)
    held = {}
    for path in archives:
        with tarfile.open(path) as archive:
            members = {m.name: m.size for m in archive.getmembers() if m.isfile()}
        assert sum(members.values()) < 1000 + len("card")
        held |= members
    assert held == {"a/weights": 700, "b/weights": 600, "c/weights": 250, "d/weights": 90, "README.md": 4}


def test_save_half_refuses_weights_that_float16_cannot_hold(tmp_path):
    from tiny_family.loop import save_half

    network = nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.fill_(1e6)
    with pytest.raises(FloatingPointError, match="weight is not finite in float16"):
        save_half(network, tmp_path)


def test_captions_are_credited_by_word(tmp_path):
    pytest.importorskip("transformers")
    from tiny_family.git import naming

    from braindec.datasets.simulated.scenes import render_scenes

    batch = render_scenes(30, 3)
    assert naming([c[1] for c in batch.captions], batch)["names_both"] == 1.0
    assert naming(["a thing somewhere"] * 30, batch) == dict.fromkeys(
        ("names_object", "names_place", "names_both", "names_colour"), 0.0
    )


def test_documents_of_the_language_stage_ask_and_answer_truly():
    pytest.importorskip("transformers")
    from tiny_family.language import DESCRIBE, Texts, build_tokenizer

    from braindec.datasets.simulated.questions import QUESTIONS
    from braindec.datasets.simulated.scenes import attributes_of

    tokenizer = build_tokenizer(600)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    plan = plan_scene(3, 8)
    attributes = attributes_of(plan)
    rng, found = np.random.default_rng(0), dict.fromkeys((*QUESTIONS, "caption", "description"), 0)
    for ids in Texts(tokenizer, 3, 8, 1).draw(400, rng):
        assert ids[-1] == end
        assert tokenizer.unk_token_id not in ids
        known, said = (tokenizer.decode(part) for part in (ids[: ids.index(start)], ids[ids.index(start) + 1 : -1]))
        asked = next((kind for kind, question in QUESTIONS.items() if known.endswith(question)), None)
        if asked is not None:
            assert said == attributes[asked]
            found[asked] += 1
        elif known.endswith(DESCRIBE):
            told = [sentence.strip() for sentence in said.split(".") if sentence.strip()]
            assert len(told) > 1
            assert set(told) <= set(captions_of(plan))
            found["description"] += 1
        else:
            assert said in captions_of(plan)
            found["caption"] += 1
    assert min(found.values()) > 10


def test_the_language_stage_learns_and_leaves_a_model_that_answers(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from tiny_family import language

    from braindec.frozen.prefix_lm import PrefixLanguageModel

    monkeypatch.setattr(language, "_N_SCENES", 8)
    tokenizer = language.build_tokenizer(400)
    monkeypatch.setattr(language, "build_tokenizer", lambda: tokenizer)
    measured = language.measure
    monkeypatch.setattr(language, "measure", lambda run: measured(run, n=4))
    run = replace(_run(tmp_path, monkeypatch, 0.4), batch=1 / 16)
    summary = language.train(run)
    assert summary["last_loss"] < 0.4 * summary["first_loss"]
    assert {name for name in summary if name.startswith("answers_")} == {f"answers_{k}" for k in language.QUESTIONS}
    # Eight scenes can be learnt by heart: told in words, one is answered by the saved model as it truly is.
    model = PrefixLanguageModel(str(run.networks / "tiny_language"))
    right = []
    for index in range(8):
        plan = plan_scene(language.TRAIN_SEED, index)
        told = model.encode([f"{captions_of(plan)[5]} {captions_of(plan)[4]}"])
        for kind, question in language.QUESTIONS.items():
            ((text, _),) = model.written(torch.as_tensor(told), [question], Search(4, beams=1))[0]
            right.append(text == language.attributes_of(plan)[kind])
    assert sum(right) / len(right) > 0.7
