"""Ask the search page's server as many visitors at once would, and print how long they wait.

    python benchmarks/serving.py --experiment smoke --system distilled --requests 2000 --at-once 200

Every visitor opens a connection of its own for each query, all of a crowd at the same moment; the queries are those of the main split.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import psutil

from simlm.commands.options import add_experiment_options, load_context
from simlm.corpus.store import CorpusStore


def main(argv: list[str] | None = None) -> int:
    """Start the server, ask it, print a table; returns 1 if a visitor got no answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_experiment_options(parser)
    parser.add_argument("--system", required=True)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=200)
    arguments = parser.parse_args(argv)
    context = load_context(arguments)
    queries = itertools.cycle(CorpusStore(context.paths.corpus).queries(context.experiment.evaluate.main_split).values())
    command = [sys.executable, "-m", "simlm.cli", "serve", "--experiment", context.experiment.name, "--results", str(context.paths.root.parent), "--port", "0"]
    server = subprocess.Popen([*command, "--left", arguments.system], stderr=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r"127\.0\.0\.1:(\d+)", server.stderr.readline())[1])

        def ask(query: str) -> tuple[float, bool]:
            begin = time.perf_counter()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("GET", "/api/search?" + urlencode({"system": arguments.system, "q": query}))
                answered = bool(json.loads(connection.getresponse().read())["hits"])
                connection.close()
            except (OSError, http.client.HTTPException, KeyError, ValueError):
                answered = False
            return time.perf_counter() - begin, answered

        ask(next(queries))  # opens the system
        process, answers, memory = psutil.Process(server.pid), [], []
        alone = sorted(ask(next(queries))[0] for _ in range(100))
        with ThreadPoolExecutor(arguments.at_once) as visitors:
            for _ in range(-(-arguments.requests // arguments.at_once)):
                answers += visitors.map(ask, [next(queries) for _ in range(arguments.at_once)])
                memory.append(process.memory_info().rss / 2**20)
        waits, unanswered = sorted(wait for wait, _ in answers), sum(not answered for _, answered in answers)
        print("| visitors at once | requests | unanswered | p50 | p99 | memory after the first crowd, the last |\n|---|---|---|---|---|---|")
        print(f"| 1 | {len(alone)} | 0 | {percentile(alone, 50)} | {percentile(alone, 99)} | |")
        shown = f"{memory[0]:.0f} MiB, {memory[-1]:.0f} MiB"
        print(f"| {arguments.at_once} | {len(waits)} | {unanswered} | {percentile(waits, 50)} | {percentile(waits, 99)} | {shown} |")
        return int(unanswered > 0)
    finally:
        server.terminate()
        server.wait()


def percentile(waits: list[float], share: int) -> str:
    """A percentile of sorted waits, in milliseconds."""
    return f"{1000 * waits[min(len(waits) - 1, len(waits) * share // 100)]:,.0f} ms"


if __name__ == "__main__":
    raise SystemExit(main())
