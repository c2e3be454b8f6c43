# Tools come from .venv once `just install` made it, otherwise from the caller's PATH.
export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# List the recipes.
default:
    @just --list --justfile {{ quote(justfile()) }}

# Make .venv and install transit into it, editable, with every tool.
install:
    uv venv --allow-existing .venv
    uv pip install --python .venv/bin/python --editable '.[dev]'

# Run every test, on two processes.
test *arguments:
    pytest -n 2 {{ arguments }}

# Judge format, lint, types and the project's own rules.
check:
    ruff format --check .
    ruff check .
    mypy --strict
    pytest tests/project/test_tidy.py

# Format, and repair what ruff can repair.
fmt:
    ruff format .
    ruff check --fix .

# Measure.
bench *arguments:
    python -m benchmarks {{ arguments }}

# Record a few agent runs and read them back.
example:
    python examples/record_agent_runs.py

# Start an S3 server for the tests: Ceph, from Debian's packages.
s3-up *arguments:
    scripts/s3_up.sh {{ arguments }}

# Stop it; what was stored stays.
s3-down *arguments:
    scripts/s3_down.sh {{ arguments }}
