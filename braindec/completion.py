"""Shell completion for subcommands, config groups and their options, read from the configs folder without Hydra."""

from __future__ import annotations

from pathlib import Path

from braindec.cli import COMMANDS
from braindec.locations import configs_folder

_BASH = """\
_braindec() {
    local words
    words=$(braindec _complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    local current="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
complete -o default -F _braindec braindec
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + _BASH
_FISH = """\
complete -c braindec -f -a '(braindec _complete (commandline -opc)[2..] (commandline -ct))'
"""
_OWN_GROUPS: dict[str, set[str]] = {
    "reconstruct": {"stage"},
    "synthesise": {"stage"},
    "evaluate": {"metric"},
    "prepare": {"dataset", "target"},
    "imagery": {"dataset"},
    "maps": set(),
    "pretrain": {"dataset", "decoder", "pretraining"},
    "compare": set(),
    "leaderboard": set(),
    "weights": set(),
    "doctor": set(),
    "completion": set(),
}
"""Config groups of the commands that do not take all of them."""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def print_script(arguments: list[str]) -> None:
    """Print the completion script of a shell; ``eval "$(braindec completion bash)"`` installs it."""
    shell = arguments[0] if arguments else "bash"
    if shell not in SCRIPTS:
        raise SystemExit(f"braindec: completion: expected one of {', '.join(SCRIPTS)}, found {shell!r}")
    print(SCRIPTS[shell])


def print_words(arguments: list[str]) -> None:
    """Print what may follow the words typed so far, the last of which may be unfinished."""
    print("\n".join(candidates(arguments)))


def candidates(typed: list[str]) -> list[str]:
    """Completions of the last of ``typed``: commands first, then ``group=`` and ``group=option``."""
    if len(typed) <= 1:
        return sorted(COMMANDS)
    command, current = typed[0], typed[-1]
    folder = configs_folder()
    groups = groups_of(folder, command)
    if "=" in current:
        group, _, value = current.partition("=")
        if group not in groups:
            return []
        opened = "[" if value.startswith("[") else ""
        chosen = value.rpartition(",")[0].lstrip("[")
        before = f"{group}={opened}{chosen}{',' if chosen else ''}"
        return [before + path.stem for path in sorted((folder / group).glob("*.yaml"))]
    return [f"{name}=" for name in (*sorted(groups), *keys_of(folder, command))]


def groups_of(folder: Path, command: str) -> set[str]:
    """Config groups that a command takes."""
    if command in _OWN_GROUPS:
        return _OWN_GROUPS[command]
    return {path.name for path in folder.iterdir() if path.is_dir()} - {"hydra", "frozen", "pretraining"}


def keys_of(folder: Path, command: str) -> dict[str, list[str]]:
    """Keys of a command's configuration, each with its YAML lines; its own values stand in place of ``train``'s."""
    path = folder / f"{command}.yaml"
    lines = path.read_text().splitlines() if path.exists() else []
    keys = keys_of(folder, "train") if "  - train" in lines else {}
    key = ""
    for line in lines:
        if line[:1].isalpha():
            key = line.split(":")[0]
            keys[key] = []
        if key and line.strip() and not line.startswith("#"):
            keys[key].append(line)
    return {key: own for key, own in keys.items() if key not in ("defaults", "hydra")}
