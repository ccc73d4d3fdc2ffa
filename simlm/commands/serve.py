"""Open a local page that compares two systems side by side.

    simlm serve --experiment pydocs
    simlm serve --experiment pydocs --left distilled --right bm25 --port 8800 --open

The page is served on 127.0.0.1 only. Programs ask http://127.0.0.1:PORT/api/search?system=NAME&q=QUERY&k=10 for JSON.
"""

from __future__ import annotations

import argparse

from simlm.commands.options import add_experiment_options, load_context, say_added


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_options(parser)
    parser.add_argument("--left", metavar="NAME", help="system on the left (default: the best on the main split)")
    parser.add_argument("--right", metavar="NAME", help="system on the right (default: the one that the configuration builds up to)")
    parser.add_argument("--evaluated", action="store_true", help="ask the evaluated passages alone, without those that simlm add has added")
    parser.add_argument("--port", type=int, default=8765, metavar="N", help="port on this machine, 0 for any free one (default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def run(arguments: argparse.Namespace) -> None:
    context = load_context(arguments)
    from simlm.interactive.server import make_server
    from simlm.progress import say

    server = make_server(context, arguments.port, arguments.left, arguments.right, arguments.evaluated)
    say_added(server.systems.collection)
    say(f"{context.experiment.name}: {server.url} (Ctrl-C ends it)")
    if arguments.open:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("The page is closed.")
    finally:
        server.server_close()
