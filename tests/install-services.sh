#!/usr/bin/env bash
# Services that some tests start by themselves, as Debian's packages; without them those tests are skipped with a reason.
set -euo pipefail

packages=(
  postgresql                          # MLflow on a real database (tests/tracking)
  slurmctld slurmd slurm-client munge # a Slurm of one node (tests/cluster)
)

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "Not root, or no apt-get: install ${packages[*]} by hand, or some tests are skipped."
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  tail -n 5 "$log"
  echo "Could not install ${missing[*]}; the tests that need them are skipped."
fi
