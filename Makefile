# Each target sets up .venv when it is missing or older than what it is made from. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
FULL := ../shared/checkpoints/intent-24l

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
	$(BIN)/python benchmarks/quality.py $(FULL) --precision dynamic --precision int8 --precision int8-full --output benchmarks/results/quality-full.txt
	$(BIN)/python benchmarks/quality.py $(FULL) --precision int16 --rows 225 --output benchmarks/results/quality-full-int16.txt

clean:
	rm -rf .venv

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/test: .venv/base
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lint]'
	touch $@
