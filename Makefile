# Two commands matter: `make demo` and `make test`. Each does all the set-up that it needs, once.
#   make PYTHON=/path/to/python3.12 ...   the Python to make .venv with
#   make test ARGS="tests/core -x"        arguments for pytest; likewise for demo

PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-spoken demo console test check format train clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup:  ## make .venv with all that the other targets need (ROS 2, MuJoCo, ONNX Runtime, PyTorch)
	@$(PYTHON) tools/set_up.py test

setup-spoken:  ## faster-whisper and a small model beside it, for spoken demo and tests; speaking needs espeak-ng
	@$(PYTHON) tools/set_up.py spoken

demo:  ## a camera, the node and fifteen commands over ROS 2: pictures in demo_out/
	@$(PYTHON) tools/set_up.py $(if $(filter --spoken,$(ARGS)),spoken,demo)
	@.venv/bin/python -m segzero_ros.demo $(ARGS)

console:  ## the same world, and a page in your browser to talk to it: http://127.0.0.1:8080/
	@$(PYTHON) tools/set_up.py console
	@.venv/bin/python -m segzero_ros.demo.console $(ARGS)

test:  ## run all tests
	@$(PYTHON) tools/set_up.py test
	@.venv/bin/python -m pytest $(ARGS)

check:  ## ruff (rules and format) and mypy --strict on the core
	@$(PYTHON) tools/set_up.py check
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format:  ## let ruff format everything and mend what it can
	@$(PYTHON) tools/set_up.py check
	@.venv/bin/ruff check --fix --exit-zero .
	@.venv/bin/ruff format .

train:  ## what is needed to train the demo models, and how to
	@$(PYTHON) tools/set_up.py test
	@.venv/bin/segzero train --help

clean:  ## remove all that make has made
	rm -rf .venv demo_out .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
