# SPDX-License-Identifier: GPL-3.0-or-later
# Two commands do all the work: `make demo` shows the collection on a broken droplet, `make test` tests it.
PYTHON ?= python3
SHELL := /bin/bash

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_HOME := $(CURDIR)/.ansible
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Compiled once, and not beside the sources: each module under test is a process of its own.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.state/pycache
export PIP_DISABLE_PIP_VERSION_CHECK := 1

SETUP := .state/setup
SHELL_FILES := $(shell git ls-files '*.sh' .ci/run)

.PHONY: help demo test setup engine images lint sanity unit role-tests engine-tests on-an-engine off-the-engine molecule molecule-long tests-can-fail fuzz leaks causes sizing live-workers handover rolling newer-engine interruption faults report-browser benchmarks lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: setup ## Break a droplet, hot-fix it over SSH, show before and after
	@tools/demo.sh

test: setup ## Everything that CI runs
	@$(MAKE) --no-print-directory --jobs 2 on-an-engine off-the-engine

setup: $(SETUP) ## Virtual environment and collections, inside this folder

$(SETUP): requirements-dev.txt tools/fetch_collections.py tools/fetch_compose.py
	@tools/venv.sh "$(PYTHON)"
	@mkdir -p $(@D)
	@python tools/fetch_collections.py
	@python tools/fetch_compose.py
	@touch $@

engine: ## Use the container engine, or install and start one
	@droplet/engine.sh start

images: setup engine ## Build the images of the stand-in droplet
	@ansible-playbook droplet/build.yml

lint: setup ## ansible-lint, yamllint, ruff, mypy, shellcheck, changelog fragments
	ruff check .
	ruff format --check .
	mypy plugins/module_utils
	yamllint --strict .
	shellcheck $(SHELL_FILES)
	antsibull-changelog lint
	ansible-lint --offline

sanity: setup ## ansible-test sanity
	tools/sanity.sh

unit: setup ## Unit and module tests
	pytest -n auto --dist worksteal

engine-tests: setup ## What only a container engine can tell
	@tools/with_engine.sh sh -c "ansible-playbook droplet/build.yml && pytest -n auto --dist worksteal tests/engine"

molecule: setup ## The whole runbook on a stand-in droplet
	@tools/with_engine.sh tools/molecule.sh

on-an-engine: # one after the other: both build the images
	@$(MAKE) --no-print-directory engine-tests
	@$(MAKE) --no-print-directory molecule

# Their output in one piece each, and no time that the droplet wants: a worker that waits too long for the processor dies.
off-the-engine:
	@nice -n 19 $(MAKE) --no-print-directory --output-sync=target lint sanity unit

molecule-long: setup ## Keys, updates from git, a backend behind nginx, the way back, a watch with faults, an unknown droplet (1 hour)
	@SCENARIOS="keys redis rolling rollback monitor support" tools/with_engine.sh tools/molecule.sh

role-tests: setup ## Roles and playbooks run by ansible-playbook, with this machine for a host (15 minutes)
	pytest -n auto --dist worksteal tests/roles

tests-can-fail: setup ## Leave each fix out in turn: its tests have to fail (15 minutes)
	@tools/tests_can_fail.sh

fuzz: setup ## 20,000 random environment files, judged by Compose, python-dotenv and bash (20 minutes)
	FUZZ_EXAMPLES=20000 pytest -n auto tests/unit/plugins/module_utils/test_dotenv_fuzz.py

leaks: setup ## Plant a secret of each kind, run everything, and search all that is printed or kept for them (40 minutes)
	@tools/on_droplet.sh leaks python tests/leaks/sweep.py leaks

causes: images ## Each cause of dying workers made for real, and named (16 minutes)
	pytest tests/causes

sizing: setup ## The number of workers that is chosen runs under load, one more does not fit (30 minutes)
	@tools/on_droplet.sh sizing benchmarks/sizing.py --droplet sizing

live-workers: setup ## Requests lost when the number of workers changes, live and by a recreate (5 minutes)
	@tools/on_droplet.sh live-workers benchmarks/live_workers.py --droplet live-workers

faults: setup ## Real faults in the middle of a deployment, and the same run once they are gone (2 1/2 hours)
	@tools/on_droplet.sh "faults-0 faults-1" pytest -vv -n 2 --dist worksteal tests/droplet/test_faults.py tests/droplet/test_projects.py

handover: setup ## A service handed over in each way in which an engine publishes ports, while it is asked (10 minutes)
	@tools/on_droplet.sh handover pytest tests/droplet/test_handover.py

rolling: setup ## A service replaced behind nginx, Caddy and Traefik while it is asked, and after runs that were killed (12 minutes)
	@tools/on_droplet.sh rolling-tests pytest tests/droplet/test_rolling.py

newer-engine: setup ## The two before this, and other projects, on the engine of Debian's next release (30 minutes)
	@tools/on_droplet.sh newer-engine sh -c "ansible-playbook droplet/newer_engine.yml \
	  -e droplet_name=newer-engine && pytest tests/droplet --deselect tests/droplet/test_faults.py"

interruption: images ## Changes under load: the runbook's steps, recreate, handover, rolling, ten in a row (12 minutes)
	@python benchmarks/interruption.py

report-browser: setup ## The pages of a report in Chromium: both themes, a telephone, paper (1 minute)
	pytest tests/browser

benchmarks: setup ## The editors of both files against python-dotenv and ruamel.yaml
	python benchmarks/env_file.py
	python benchmarks/compose_yaml.py

lock: setup ## Pin requirements-dev.in into requirements-dev.txt
	pip install --quiet uv
	uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links \
	  requirements-dev.in --output-file requirements-dev.txt

clean: ## Remove everything that this checkout made, and nothing else
	@tools/clean.sh
