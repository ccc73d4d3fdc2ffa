"""The page about the commands, from their parsers: python docs/site/commands.py > build/commands.md"""

from __future__ import annotations

import argparse

from simlm.cli import COMMANDS, GROUPS, parser_of


def page() -> str:
    """Markdown with a section per group and a table of options per command."""
    grouped = {name for names in GROUPS.values() for name in names}
    parts = ["# Commands", "", "Made from the commands themselves; `simlm COMMAND --help` prints the same.", ""]
    for title, names in GROUPS.items():
        parts += [f"## {title}", ""]
        for name in names or [name for name in COMMANDS if name not in grouped]:
            parts += [*command(name), ""]
    return "\n".join(parts)


def command(name: str) -> list[str]:
    """What a command does, and its options."""
    parser = parser_of(name)
    lines = [f"### `simlm {name}`", "", "```text", *(parser.description or COMMANDS[name]).strip().splitlines(), "```", ""]
    lines += ["| option | meaning |", "|---|---|"]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        value = " ".join(value) if isinstance(value, tuple) else value
        option = " ".join(filter(None, [", ".join(action.option_strings), value])) or action.dest
        meaning = " ".join(((action.help or "") % {**vars(action), "prog": parser.prog}).split()) + (" (required)" if action.required else "")
        lines.append(f"| `{option}` | {meaning.replace('|', chr(92) + '|')} |")
    return lines


if __name__ == "__main__":
    print(page())
