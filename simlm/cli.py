"""The ``simlm`` command: a stage of the chain (``simlm.stages``) or a module of ``simlm.commands``, imported only when it is called."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
import textwrap
from importlib.util import find_spec
from typing import Any

from simlm import __version__, processes
from simlm.errors import UserError, nearest, one_line

COMMANDS: dict[str, str] = {
    "new": "write a configuration that fits a folder of your own",
    "check": "is a configuration sound? prints its graph",
    "plan": "what an experiment will cost: jobs, time, disk, memory",
    "calibrate": "measure this machine for the estimates of plan",
    "status": "how far the running experiment is, and the time to go",
    "summary": "the table of an experiment, and where its report is",
    "compare": "all experiments in one table, beside published numbers",
    "ui": "open MLflow on the store of the experiments",
    "search": "answer one query with a trained system",
    "serve": "a local page that compares two systems side by side",
    "add": "add passages to what is searched, without training",
    "judge": "one model on many collections, in one table",
    "embed": "vectors of new texts, with any trained or published model",
    "export": "vectors to Parquet, runs and negatives to JSON lines, a model to ONNX",
    "publish": "upload a model to the Hugging Face Hub, after a look at what is sent",
    "download": "fetch corpus, titles and published models",
    "prepare-corpus": "read passages, queries and judgements into one store",
    "make-queries": "make training queries of the passages themselves",
    "train-tokenizer": "make the vocabulary, or fetch a published one",
    "index-bm25": "build the BM25 index, choosing the tokenisation on dev",
    "search-bm25": "search splits with BM25",
    "train": "train one model of the graph",
    "import-model": "take a published model into the experiment",
    "encode": "embed one shard of the corpus",
    "build-index": "put a model's embedded shards into an index",
    "search-index": "search splits with a model's index",
    "mine-negatives": "sample hard negatives from a run of the training queries",
    "score-teacher": "score what a student's training will visit",
    "rerank": "re-rank a system's runs with a cross-encoder",
    "fuse": "fuse the runs of several systems",
    "evaluate": "judge all runs, or one by hand, with ir-measures",
    "compare-systems": "significance tests, intervals and metrics.tsv",
    "judge-reproduction": "figures against published ones: OK, OKish or FAIL",
    "enforce-gate": "fail if a published figure was not reproduced",
    "report": "write report.html",
    "track": "mirror the results to MLflow, at any time and repeatedly",
    "schema": "write the JSON schema and the settings' reference",
}

GROUPS = {
    "Before it runs": ["new", "check", "plan", "calibrate"],
    "While it runs": ["status"],
    "Results": ["summary", "compare", "judge", "ui"],
    "Use what was trained": ["search", "serve", "add", "embed", "export", "publish"],
    "Stages, which the workflow calls (each also runs by hand)": [],
    "After a change of simlm itself": ["schema"],
}
"""What a person does, with its commands; what is in no other group is a stage."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 2 after a user's mistake, 75 when the job's wall time is nearly over)."""
    argv = sys.argv[1:] if argv is None else argv
    _print_anything()
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
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


def overview() -> str:
    """All commands by what a person does, for 80 columns."""
    width, grouped = max(map(len, COMMANDS)), {name for names in GROUPS.values() for name in names}
    lines = [
        "usage: simlm COMMAND [--help]",
        "",
        "Pre-train, fine-tune, distil, index and judge a dense retriever.",
        "`snakemake --cores 2` runs a whole experiment; these are its parts.",
    ]
    for title, names in GROUPS.items():
        lines += ["", f"{title}:"]
        for name in names or [name for name in COMMANDS if name not in grouped]:
            lines += textwrap.wrap(COMMANDS[name], 79, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(console())
