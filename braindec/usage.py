"""Help of one subcommand: its keys with their values, its config groups with their options; only text is read."""

from __future__ import annotations

from braindec.cli import COMMANDS
from braindec.completion import groups_of, keys_of
from braindec.locations import configs_folder


def print_usage(command: str) -> None:
    """Print what ``braindec COMMAND`` takes."""
    folder = configs_folder()
    print(f"braindec {command}: {COMMANDS[command]}\n\nusage: braindec {command} [key=value ...] [group=option ...]\n")
    path = folder / f"{command}.yaml"
    lines = path.read_text().splitlines() if path.exists() else []
    print("\n".join(line.removeprefix("# ") for line in lines if line.startswith("# ")))
    print("\nkeys and their values:")
    for own in keys_of(folder, command).values():
        print("\n".join(f"  {line}" for line in own))
    groups = sorted(groups_of(folder, command))
    if groups:
        print("\nconfig groups and their options (several in order: target=[pixels,words]):")
    for group in groups:
        options = ", ".join(sorted(file.stem for file in (folder / group).glob("*.yaml")))
        print(f"  {group:<11} {options}")
    print(
        "\nA key of a part is set by its path, e.g. decoder.selection=kfold. --cfg job prints the composed"
        "\nconfiguration, -m runs several (seed=1,2,3), --config-dir DIR adds config groups of your own."
    )
