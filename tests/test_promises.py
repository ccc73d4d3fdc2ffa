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
    named = [line for file in snakefiles for line in re.findall(r"^\s*container(?:ized)?:.*$", file.read_text(encoding="utf-8"), re.MULTILINE)]
    assert named == ['container: f"{workflow.basedir}/../simlm.sif"']  # a file beside the checkout's own
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert catalog["usage"]["software-stack-deployment"]["apptainer"] is False
    profile = yaml.safe_load((ROOT / "workflow/profiles/kubernetes/config.yaml").read_text(encoding="utf-8"))
    image = re.search(r"--image (\S+)", profile["cluster-generic-submit-cmd"])[1]
    assert f"docker build -t {image} ." in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    schedulers = (ROOT / "docs/schedulers.md").read_text(encoding="utf-8")
    assert f"docker build -t {image} ." in schedulers
    assert f"apptainer build simlm.sif docker-daemon:{image}" in schedulers


def test_what_the_tests_with_slurm_need_stands_in_the_readme():
    reason = re.search(r'^INSTALL = "(.*)"$', (ROOT / "tests/cluster/slurm.py").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert reason in (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")


def test_the_readme_can_be_read_in_one_go():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 140
    prose = [line for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines() if not line.startswith(("|", "#", "!"))]
    plain = re.sub(r"\]\([^)]*\)", "]", "\n".join(prose))
    long = [sentence for sentence in re.split(r"(?<=[.:!?])\s", plain) if len(sentence.split()) >= 30]
    assert not long
    findings = re.findall(r"^- \*\*.*$", text, re.MULTILINE)
    assert len(findings) == 4
    assert max(len(finding.split()) - 1 for finding in findings) <= 25


def test_figures_of_the_readme_are_those_of_the_page_about_the_default():
    rows = [set(re.findall(r"\d\.\d{3}", line)) for line in (ROOT / "docs/default.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    own = [
        set(re.findall(r"\d\.\d{3}", line)) for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| `\w+` \| [*\d]", line)
    ]
    assert len(own) == 7
    assert all(any(line <= row for row in rows) for line in own)


def test_pictures_are_there_and_small():
    for picture in re.findall(r"!\[.+\]\((docs/pictures/[\w.]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert 1_000 < (ROOT / picture).stat().st_size < 150_000
