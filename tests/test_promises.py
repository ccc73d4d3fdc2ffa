"""docs/experiments.md is a log: dated entries, newest first, whose titles say what came of it; the repository's other promises to tools."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_entries_are_dated_and_the_newest_stands_first():
    titles = re.findall(r"^## (.*)$", (ROOT / "docs/experiments.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[0] == "Where it stands"
    dated = [re.fullmatch(r"(\d{4}-\d{2}-\d{2}): \S.{15,}", title) for title in titles[1:]]
    assert all(dated), titles
    days = [found[1] for found in dated]
    assert days == sorted(days, reverse=True)


def test_links_into_the_pages_find_their_place():
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "pretrained/README.md"]:
        for target, place in re.findall(r"\]\(([\w./-]*\.md)#([\w-]+)\)", page.read_text(encoding="utf-8")):
            text = (page.parent / target).read_text(encoding="utf-8")
            headings = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
            assert place in headings or f'<a id="{place}">' in text, f"{page.name}: {target}#{place}"


def test_no_image_is_named_that_nobody_can_pull():
    snakefiles = [*ROOT.glob("workflow/**/*.smk"), ROOT / "workflow/Snakefile"]
    assert not [file for file in snakefiles if re.search(r"^\s*container(ized)?:", file.read_text(encoding="utf-8"), re.MULTILINE)]
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert catalog["usage"]["software-stack-deployment"]["apptainer"] is False
    profile = yaml.safe_load((ROOT / "workflow/profiles/kubernetes/config.yaml").read_text(encoding="utf-8"))
    image = re.search(r"--image (\S+)", profile["cluster-generic-submit-cmd"])[1]
    assert f"docker build -t {image} ." in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"docker build -t {image} ." in (ROOT / "docs/schedulers.md").read_text(encoding="utf-8")


def test_what_the_tests_with_slurm_need_stands_in_the_readme():
    reason = re.search(r'^INSTALL = "(.*)"$', (ROOT / "tests/cluster/slurm.py").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert reason in (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
