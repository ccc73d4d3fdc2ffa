#!/usr/bin/env python3
"""Snakemake's jobs as Kubernetes jobs: what the profile's commands call.

job.py submit --image IMAGE --claim CLAIM --mount PATH --cpus N --memory MB --gpus N --minutes N SCRIPT
job.py status NAME        prints running, success or failed
job.py NAME...            deletes the jobs (Snakemake gives its cancel command nothing but names)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid


def manifest(arguments: argparse.Namespace, name: str, folder: str) -> dict:
    """The job: one container that runs the script in the same folder of the same volume."""
    limits = {"memory": f"{arguments.memory}M", **({"nvidia.com/gpu": str(arguments.gpus)} if arguments.gpus else {})}
    container = {
        "name": "simlm",
        "image": arguments.image,
        "command": ["bash", arguments.script],
        "workingDir": folder,
        # The job ends itself with a checkpoint before Kubernetes does.
        "env": [{"name": "SIMLM_BATCH_JOB", "value": name}],
        "resources": {"requests": {"cpu": str(arguments.cpus), **limits}, "limits": limits},
        "volumeMounts": [{"name": "data", "mountPath": arguments.mount}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": arguments.claim}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app": "simlm"}},
        "spec": {
            "backoffLimit": 0,  # Snakemake repeats
            "activeDeadlineSeconds": 60 * arguments.minutes,
            "ttlSecondsAfterFinished": 86400,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}},
        },
    }


def state(status: dict) -> str:
    """Snakemake's word for the status of a job."""
    conditions = {entry["type"] for entry in status.get("conditions", []) if entry.get("status") == "True"}
    if "Complete" in conditions or status.get("succeeded"):
        return "success"
    return "failed" if "Failed" in conditions or status.get("failed") else "running"


def kubectl(*words: str, text: str | None = None) -> str:
    """Call kubectl; what it complains about goes to standard error."""
    return subprocess.run(["kubectl", *words], input=text, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(argv: list[str]) -> None:
    if argv[:1] == ["submit"]:
        parser = argparse.ArgumentParser(prog="job.py submit")
        for option in ("--image", "--claim", "--mount"):
            parser.add_argument(option, required=True)
        for option in ("--cpus", "--memory", "--gpus", "--minutes"):
            parser.add_argument(option, required=True, type=int)
        parser.add_argument("script")
        arguments = parser.parse_args(argv[1:])
        name = f"simlm-{uuid.uuid4().hex[:12]}"
        kubectl("create", "--filename", "-", text=json.dumps(manifest(arguments, name, os.getcwd())))
        print(name)
    elif argv[:1] == ["status"]:
        print(state(json.loads(kubectl("get", "job", argv[1], "--output", "json"))["status"]))
    elif argv:
        kubectl("delete", "job", "--ignore-not-found", "--wait=false", *argv)


if __name__ == "__main__":
    main(sys.argv[1:])
