"""The command line: help is fast and light, unknown commands are corrected, completion follows the configs folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from braindec import cli
from braindec.completion import candidates, print_script
from braindec.compose import check_choices, compose
from braindec.locations import configs_folder
from braindec.types import DataError
from braindec.usage import print_usage

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "hydra", "pandas", "numpy", "mne", "sklearn", "matplotlib")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "braindec.cli", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert command in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['braindec', '--help']; from braindec import cli; cli.main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "braindec.cli" in loaded
    assert not loaded & set(HEAVY)


def test_help_of_a_command_lists_keys_groups_and_options_without_heavy_imports() -> None:
    script = "from braindec import cli; cli.main(); print(*sys.modules)"
    code = f"import sys; sys.argv = ['braindec', 'train', '--help']; {script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    for expected in ("run_dir:", "miyawaki2008", "leave_stimulus_out", "test_repetitions: all"):
        assert expected in done.stdout
    assert not set(done.stdout.split()) & set(HEAVY)


def test_help_shows_a_key_once_with_the_command_s_own_value(capsys) -> None:
    print_usage("over_time")
    lines = capsys.readouterr().out.splitlines()
    own = [line for line in lines if line.startswith(("  controls:", "  run_dir:", "  seed:"))]
    assert own == ["  controls: []", "  seed: 0", "  run_dir: outputs/${name}_over_time_${now:%Y-%m-%d_%H-%M-%S}"]


def test_help_names_only_groups_that_a_command_takes(capsys) -> None:
    for command, groups in (("maps", set()), ("imagery", {"dataset"}), ("prepare", {"dataset", "target"})):
        print_usage(command)
        shown = capsys.readouterr().out.partition("config groups")[2].splitlines()
        assert {line.split()[0] for line in shown if line.startswith("  ")} == groups, command


def test_unknown_command_names_the_nearest() -> None:
    done = run("trian")
    assert done.returncode == 2
    assert "did you mean 'train'" in done.stderr


def test_an_unknown_name_in_a_list_is_named_with_the_nearest() -> None:
    done = run("reconstruct", "run=outputs/none", "stages=[vdvae,git_capton]")
    assert done.returncode == 2
    assert "configs/stage has no 'git_capton'; did you mean 'git_caption'?" in done.stderr
    check_choices(["subject=[a,b]", "metric=[pixcorr, ssim]", "stages=[]", "ids=[x]"])
    check_choices(["stages=[mine]", "--config-dir=elsewhere"])


def test_reconstruct_takes_the_test_part_and_no_other() -> None:
    assert list(compose("reconstruct", ["run=a", "split=test"])) == list(compose("reconstruct", ["run=a"]))
    with pytest.raises(DataError, match="split=train: reconstruct makes .* say split=test"):
        compose("reconstruct", ["run=a", "split=train"])
    assert compose("train", ["split=leave_repetition_out"]).split is not None


def test_completion_offers_commands_groups_and_options() -> None:
    assert candidates([""]) == sorted(cli.COMMANDS)
    assert {"dataset=", "decoder=", "experiment=", "seed=", "run_dir="} <= set(candidates(["train", ""]))
    assert "dataset=miyawaki2008" in candidates(["train", "dataset=mi"])
    assert "target=[pixels,words" in candidates(["train", "target=[pixels,"])
    assert "run=" in candidates(["evaluate", ""])
    assert not any(word.startswith("dataset=") for word in candidates(["evaluate", ""]))
    assert {"window_s=", "n_resamples=", "dataset="} <= set(candidates(["over_time", ""]))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_completer(shell: str, capsys) -> None:
    print_script([shell])
    assert "braindec _complete" in capsys.readouterr().out


def test_bash_can_run_the_completion_script(capsys) -> None:
    print_script(["bash"])
    script = capsys.readouterr().out
    words = " ".join(path.stem for path in (configs_folder() / "split").glob("*.yaml"))
    fake = f'braindec() {{ echo "{words}"; }}\n'
    query = 'COMP_WORDS=(braindec train publ); COMP_CWORD=2; _braindec; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", fake + script + query], capture_output=True, text=True, check=True)
    assert "published" in done.stdout.split()


def test_what_a_part_refuses_is_one_message_with_its_key(tmp_path) -> None:
    world = ["dataset=simulated", "dataset.n_test=10", "dataset.n_imagery=99"]
    found = run("train", *world, f"run_dir={tmp_path / 'run'}")
    assert found.returncode == 2
    assert "braindec: dataset: Simulated: n_imagery must be at most n_test (10)" in found.stderr
    assert "HYDRA_FULL_ERROR" not in found.stderr
