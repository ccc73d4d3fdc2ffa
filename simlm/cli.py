"""The ``simlm`` command: a stage of the chain (``simlm.stages``) or a module of ``simlm.commands``, imported only when it is called."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
from importlib.util import find_spec
from typing import Any

from simlm import __version__, processes
from simlm.errors import UserError, nearest, one_line

COMMANDS: dict[str, str] = {
    "download": "fetch corpus, titles and published models, where there is a network",
    "prepare-corpus": "read passages, queries and judgements from their source into the corpus store",
    "train-tokenizer": "train a WordPiece vocabulary on the corpus, or fetch a published one",
    "index-bm25": "build the BM25 index, choosing the tokenisation on the dev split",
    "search-bm25": "search a split with BM25",
    "mine-negatives": "sample hard negatives from a system's run of the training queries",
    "train": "train one model of the graph",
    "import-model": "take a published model into the experiment",
    "encode": "embed one shard of the corpus with a bi-encoder",
    "build-index": "put a model's embedded shards into a faiss index",
    "search-index": "search splits with a bi-encoder's index",
    "score-teacher": "score the passages that a student's training will visit with its teacher",
    "rerank": "re-rank a system's runs with a cross-encoder",
    "fuse": "fuse the runs of several systems by reciprocal rank",
    "evaluate": "judge all runs, or one by hand, with ir-measures",
    "compare-systems": "significance tests, confidence intervals and the table metrics.tsv",
    "judge-reproduction": "compare the figures with published ones: OK, OKish or FAIL (reproduction.tsv)",
    "enforce-gate": "fail if a published figure was not reproduced",
    "report": "write report.html",
    "summary": "print the table of an experiment's systems and where its report is",
    "track": "mirror the stage records to MLflow (can be repeated at any time)",
    "compare": "print the table of all experiments beside the published numbers",
    "ui": "open MLflow on the store of the experiments",
    "search": "answer one query with a trained system",
    "serve": "open a local page that compares two systems side by side",
    "check": "check a configuration and print its graph",
    "plan": "estimate jobs, time, disk and memory of every stage before anything runs",
    "calibrate": "measure this machine for the estimates of plan",
    "schema": "write the JSON schema and config/README.md from the typed configuration",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 2 after a user's mistake, 75 when the job's wall time is nearly over)."""
    argv = sys.argv[1:] if argv is None else argv
    _print_anything()
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(f"simlm {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        print(f"simlm: no command is called '{name}'{nearest(name, COMMANDS)} (simlm --help lists them)", file=sys.stderr)
        return 2
    command = _command(name.replace("-", "_"))
    arguments = parser_of(name).parse_args(argv[1:])
    try:
        processes.check(os.environ)
    except UserError as error:
        print(f"simlm {name}: {error}", file=sys.stderr)
        return error.code
    try:
        return command.run(arguments) or 0
    except UserError as error:
        return _refuse(name, str(error), error.code)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _refuse(name, _sentence(error))
    except MemoryError:
        return _refuse(name, "there is not enough memory; give the job more, or lower the batch size or the number of passages at once")
    except KeyboardInterrupt:
        print(f"simlm {name}: interrupted", file=sys.stderr)
        return 130


def parser_of(name: str) -> argparse.ArgumentParser:
    """What reads the arguments of a command, one of ``COMMANDS``."""
    command = _command(name.replace("-", "_"))
    parser = argparse.ArgumentParser(prog=f"simlm {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    return parser


def _command(name: str) -> Any:
    """What has ``add_arguments(parser)`` and ``run(arguments)``: a module of ``simlm.commands``, or a stage."""
    if find_spec(f"simlm.commands.{name}"):
        return importlib.import_module(f"simlm.commands.{name}")
    from simlm.commands.stage import StageCommand

    return StageCommand(importlib.import_module(f"simlm.stages.{name}"))


def console() -> int:
    """`main` as a process of its own.

    Importing torch and transformers makes millions of objects that live as long as the process: looking at them again
    took a sixth of every start, and two to three seconds more at its end.
    """
    gc.set_threshold(100_000, 20, 20)
    try:
        return main()
    finally:
        gc.freeze()


def _print_anything() -> None:
    """Where the terminal knows ASCII alone, other letters are printed by their numbers instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _refuse(command: str, sentence: str, code: int = 2) -> int:
    processes.let_main_speak()
    who = command if processes.is_main() else f"{command} (process {processes.rank()})"
    print(f"simlm {who}: {one_line(sentence)}", file=sys.stderr)
    return code


def _sentence(error: OSError) -> str:
    """What, where and what to do about an error of the file system or the network that nobody explained before."""
    advice = {
        errno.ENOSPC: "free space or choose another place",
        errno.EDQUOT: "free space or choose another place",
        errno.EROFS: "choose a place that can be written",
        errno.EACCES: "ask for the permission or choose another place",
        errno.EPERM: "ask for the permission or choose another place",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }.get(error.errno or 0, "look at that place and run the command again")
    what = error.strerror or str(error) or type(error).__name__
    if not error.filename and (error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in what or "temporary directory" in what):
        return f"{what}; free space in the folder of temporary files ({_temporary()}) or in the results, or name another one in TMPDIR"
    return f"{error.filename}: {what}; {advice}" if error.filename else f"{what}; {advice}"


def _temporary() -> str:
    import tempfile

    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR", "TMPDIR")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()]
    return "usage: simlm COMMAND [--help]\n\nPre-train, fine-tune, distil, index and judge a dense retriever.\n\n" + "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(console())
