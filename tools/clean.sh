#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Remove what this checkout made: droplets, images, the engine's process if it was started here, and its own folders.
set -eu
cd "$(dirname "$0")/.."

if [ -x .venv/bin/ansible-playbook ] && docker info >/dev/null 2>&1; then
  ansible-playbook droplet/clean.yml
fi
droplet/engine.sh stop
rm -rf changelogs/.plugin-cache.yaml .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .state .venv
find . -name __pycache__ -type d -prune -exec rm -rf {} +
