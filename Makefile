# Each target sets up .venv when it is missing or older than what it is made from. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint quality clean
.DEFAULT_GOAL := demo

demo: .venv/base
	$(BIN)/mobilebert-export tflite --quantize int8 --overwrite

test: .venv/test
	$(BIN)/pytest

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quality: .venv/test
	$(BIN)/python benchmarks/quality.py --output benchmarks/results/quality-demo.txt
	$(BIN)/python benchmarks/quality.py ../shared/checkpoints/intent-24l --output benchmarks/results/quality-full.txt

clean:
	rm -rf .venv

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/test: .venv/base
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lint]'
	touch $@
