"""Cut the power of a running experiment, as far as its disk can tell, and go on from what the disk holds.

    python benchmarks/power_cut.py --moments 20 --out results/power-cut

The experiment runs on a file system of its own, an ext4 image that is mounted through a loop device (as root, on Linux). At random moments,
also in the seconds after its end, all its processes are halted and the image is copied as it lies there, without a sync: what has not
been written to the device is not in it. Each copy is mounted, ``snakemake --unlock`` and the plain command go on from it, and tables,
weights, vectors and curves must be those of an undisturbed run. The copy is taken again if the device was written to meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml
from faults import Chain, outcome, small_experiment, together

AFTERWARDS = 8.0
"""Seconds after the end of the experiment in which the power may still be cut."""


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """The file system in an image, mounted at ``folder``; yields the loop device's folder in /sys."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        device = subprocess.run(["findmnt", "-n", "-o", "SOURCE", folder], check=True, capture_output=True, text=True).stdout.strip()
        yield Path("/sys/block") / Path(device).name
    finally:
        # What was killed a moment ago may still hold it.
        for last in [False] * 60 + [True]:
            if subprocess.run(["umount", folder], check=last, capture_output=not last).returncode == 0:
                break
            time.sleep(1)


def written(device: Path) -> tuple[int, int]:
    """Writes that a block device has completed, and those under way."""
    fields = (device / "stat").read_text().split()
    return int(fields[4]), int(fields[8])


def halted(driver: subprocess.Popen) -> list[psutil.Process]:
    """Stop a process and all that it started; returns them."""
    family: dict[int, psutil.Process] = {}
    while True:
        with suppress(psutil.NoSuchProcess):
            found = {process.pid: process for process in [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]}
            new = [process for pid, process in found.items() if pid not in family]
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            family.update(found)
            if new:
                continue
        return list(family.values())


def cut(image: Path, device: Path, copy: Path) -> None:
    """Copy the image as the device holds it, from one moment between two writes."""
    while True:
        before = written(device)
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        if before[1] == 0 and written(device) == before:
            return
        time.sleep(0.05)


def empty_files(folder: Path) -> int:
    """Files of results that are empty or full of zeros, lost with the power."""
    found = 0
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".safetensors", ".npy", ".parquet", ".arrow", ".tsv", ".trec"):
            with open(file, "rb") as stream:
                found += not any(stream.read(64))
    return found


def rerun(copy: Path, folder: Path, config: Path, cores: int, expected: dict[str, str]) -> dict:
    """Go on from a copy; returns what was found and what came out."""
    with mounted(copy, folder):
        place, hollow = folder / "work", empty_files(folder)
        chain = Chain(place, [config], cores)
        begin = time.monotonic()
        if (place / ".snakemake").exists():
            chain.unlock()
        code = chain.start().wait()
        chain.output.close()
        log = (place / "snakemake.log").read_text(errors="replace")
        found = {} if code else outcome(chain)
        different = ["exit code"] if code else sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
        made_again = [line for line in log.splitlines() if line.endswith("runs again.")]
        last = "" if code == 0 else " ".join(log.split())[-600:]
    return {"hollow": hollow, "made_again": made_again, "seconds": round(time.monotonic() - begin), "different": different, "last": last}


def main(argv: list[str] | None = None) -> int:
    """Run everything; returns 1 if something came out differently."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="empty folder for images and power_cut.json")
    parser.add_argument("--config", type=Path, help="another experiment than the small one of the smoke test")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--mebibytes", type=int, default=512, help="size of the file system")
    arguments = parser.parse_args(argv)
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = out / "experiment.yaml"
    config.write_text(arguments.config.read_text() if arguments.config else yaml.safe_dump(small_experiment()))

    begin = time.monotonic()
    reference = Chain(out / "reference", [config], arguments.cores)
    if reference.start().wait():
        raise SystemExit(f"the undisturbed run failed; see {out / 'reference' / 'snakemake.log'}")
    seconds, expected = time.monotonic() - begin, outcome(reference)
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} digests, together {together(expected)}", flush=True)

    image = out / "disk.img"
    with open(image, "wb") as stream:
        stream.truncate(arguments.mebibytes << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    draw, copies = random.Random(arguments.seed), []
    # Nothing but the start of Python and Snakemake happens in the first seconds.
    moments = sorted(draw.uniform(0.05 * seconds, seconds + AFTERWARDS) for _ in range(arguments.moments))
    with mounted(image, out / "disk") as device:
        chain = Chain(out / "disk" / "work", [config], arguments.cores)
        driver, begin, halts = chain.start(), time.monotonic(), 0.0
        ended = None
        for number, moment in enumerate(moments, 1):
            while (now := time.monotonic() - begin - halts) < moment:
                if ended is None and driver.poll() is not None:
                    ended = now
                if ended is not None and now > ended + AFTERWARDS:
                    break
                time.sleep(0.02)
            start = time.monotonic()
            family = halted(driver) if driver.poll() is None else []
            copy = out / f"cut{number}.img"
            cut(image, device, copy)
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
            halts += time.monotonic() - start
            copies.append((round(moment, 1), "running" if family else "ended", copy))
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        chain.output.close()
    image.unlink()

    cuts = []
    for number, (moment, state, copy) in enumerate(copies, 1):
        found = rerun(copy, out / f"again{number}", config, arguments.cores, expected)
        cuts.append({"second": moment, "state": state, **found})
        same = "identical" if not found["different"] else "DIFFERENT: " + ", ".join(found["different"])
        print(f"{moment:6.1f} s {state}: {found['hollow']} hollow files, {len(found['made_again'])} noticed, {found['seconds']} s, {same}", flush=True)
        (out / "power_cut.json").write_text(json.dumps({"reference_seconds": round(seconds), "digests": len(expected), "cuts": cuts}, indent=1))
        if not found["different"]:
            copy.unlink()
        with suppress(OSError):
            (out / f"again{number}").rmdir()
    shutil.rmtree(out / "disk", ignore_errors=True)
    same, hollow = sum(not each["different"] for each in cuts), sum(each["hollow"] > 0 for each in cuts)
    print(f"{len(cuts)} power cuts, {same} ended as undisturbed, {hollow} with hollow files")
    return int(any(each["different"] for each in cuts))


if __name__ == "__main__":
    raise SystemExit(main())
