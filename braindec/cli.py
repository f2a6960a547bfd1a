"""The ``braindec`` command: one subcommand a main, each taking Hydra overrides.

Nothing heavy is imported before the subcommand is known, so that help answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from braindec import __version__

COMMANDS = {
    "train": "fit a decoder on training trials, then predict the sealed test trials",
    "pretrain": "train an encoder on runs of scans that nobody labelled, for decoder.start_from",
    "reconstruct": "turn a run's predictions into pictures and words:  run=DIR",
    "evaluate": "score a run against its controls and write report.html:  run=DIR, or folder=DIR truth=DIR",
    "over_time": "train and score in sliding windows of time: when does the brain know?",
    "over_space": "train and score from each region alone and without it: where does the brain know?",
    "maps": "where is what a run decodes? patterns and gradients over the brain:  run=DIR",
    "synthesise": "what does one region alone decode to? a gallery by ROI and contrast:  run=DIR",
    "imagery": "find what was imagined among candidates, with a permutation p-value:  run=DIR",
    "compare": "paired comparison of runs, with intervals:  runs=[DIR,DIR]",
    "leaderboard": "collect runs on one page beside published figures:  folder=DIR",
    "prepare": "verify a data set's files, build its caches, embed its stimuli:  dataset=NAME",
    "demo": "train, reconstruct and evaluate in one go, on the simulated data set unless told otherwise",
    "weights": "list, check or fetch weights of frozen networks:  braindec weights list",
    "doctor": "check Python, torch, GPU, disk, data folders and weights",
    "completion": "print a shell completion script:  braindec completion bash",
}

HELP = """\
braindec {version}: decode what a person saw, heard or read from fMRI, MEG and EEG.

usage: braindec COMMAND [key=value ...]

commands:
{commands}

Every key of a configuration can be set on the command line; the parts come from config groups:
  braindec train experiment=linear_pixels dataset=miyawaki2008 run_dir=outputs/first
  braindec reconstruct run=outputs/first
  braindec evaluate run=outputs/first

  braindec COMMAND --help          keys and config groups of a command
  braindec train --cfg job         the composed configuration, without running
  braindec train -m seed=1,2,3     several runs (Hydra multirun)
  --config-dir DIR                 add config groups of your own
"""


def main() -> None:
    """Entry point of the console script; quiet when what it prints into (``| head``) has had enough."""
    try:
        _main(sys.argv[1:])
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<12} {line}" for name, line in COMMANDS.items())
        print(HELP.format(version=__version__, commands=commands))
        return
    command = arguments[0]
    if command in ("--version", "version"):
        print(__version__)
        return
    if command not in (*COMMANDS, "_complete"):
        import difflib

        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; commands are {', '.join(COMMANDS)}"
        print(f"braindec: unknown command {command!r}{hint}", file=sys.stderr)
        raise SystemExit(2)
    _dispatch(command, arguments[1:])


def _dispatch(command: str, arguments: list[str]) -> None:
    # Parts outside the package are found beside the working directory, as with ``python -m``.
    sys.path.append(str(Path.cwd()))
    sys.argv = [f"braindec {command}", *arguments]
    if command in ("completion", "_complete"):
        from braindec import completion

        (completion.print_script if command == "completion" else completion.print_words)(arguments)
    elif command in ("doctor", "weights"):
        from braindec.console import guarded

        module = importlib.import_module(f"braindec.{command}")
        guarded(lambda: module.main(arguments))
    elif {"-h", "--help"} & set(arguments):
        from braindec import usage

        usage.print_usage(command)
    else:
        _run_hydra(command)


def _run_hydra(command: str) -> None:
    import hydra
    from omegaconf import DictConfig

    from braindec.compose import check_choices, settable
    from braindec.console import guarded, set_up_logging
    from braindec.locations import configs_folder

    def read() -> None:
        check_choices(sys.argv[1:])
        sys.argv[1:] = settable(sys.argv[1:], command)

    guarded(read)

    @hydra.main(version_base="1.3", config_path=str(configs_folder()), config_name=command)
    def job(config: DictConfig) -> None:
        set_up_logging()
        module = importlib.import_module(f"braindec.{command}")
        guarded(lambda: module.run(config))

    job()


if __name__ == "__main__":
    main()
