# Tools come from .venv once `just install` made it, otherwise from the caller's PATH.
export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# List the recipes.
default:
    @just --list --justfile {{ quote(justfile()) }}

# Make .venv and install transit into it, editable, with every tool.
install:
    uv venv --allow-existing .venv
    uv pip install --python .venv/bin/python --editable '.[dev]'

# Run the tests of every day, on two processes.
test *arguments:
    pytest -n 2 {{ arguments }}

# Run the tests of every day with the lowest versions of all dependencies.
lowest *arguments:
    scripts/other_environment.sh 0 {{ arguments }}

# Run them in another environment: 0 lowest versions, 1 Python 3.12, 2 Python 3.13.
other number *arguments:
    scripts/other_environment.sh {{ number }} {{ arguments }}

# Run every rig in the size of CI, on two processes: crashes, damage, kills, faults, histories, …; and the slow tests.
rigs *arguments:
    pytest -n 2 rigs {{ arguments }}
    pytest -n 2 -m slow tests {{ arguments }}

# Open what is exported with the readers of the tools it is for, in an environment of their own.
readers *arguments:
    scripts/readers.sh {{ arguments }}

# Test adapters beside the stacks they are for, newest and lowest versions: `just adapters langgraph`.
adapters *names:
    scripts/adapters.sh {{ names }}

# Judge format, lint, types and the project's own rules.
check:
    ruff format --check .
    ruff check .
    mypy --strict
    pytest -m '' tests/project/test_tidy.py

# Format, and repair what ruff can repair.
fmt:
    ruff format .
    ruff check --fix .

# Measure transit beside raw baselines made in the same run.
bench *arguments:
    python -m benchmarks {{ arguments }}

# Measure transit beside other systems, those that are installed: `uv pip install -e '.[peers]'`.
bench-peers *arguments:
    python -m benchmarks.contests {{ arguments }}

# Measure how costs grow with records, streams and branches of branches.
bench-growth *arguments:
    python -m benchmarks.growth {{ arguments }}

# Fail when one of five workloads became more than twice as slow as the checked-in ratio to raw.
bench-guard *arguments:
    python -m benchmarks.guard {{ arguments }}

# Measure this tree beside another revision of it: `just bench-compare HEAD~1 append- replay-`.
bench-compare ref *arguments:
    python -m benchmarks.compare --to {{ quote(ref) }} {{ arguments }}

# Measure the HTML page of a run of 10,000 events: to write it, its size, when a browser paints it.
bench-html *arguments:
    python -m benchmarks.htmlpages {{ arguments }}

# Measure an event of `transit.trace` beside a span of the OpenTelemetry SDK, where it is installed.
bench-spans *arguments:
    python -m benchmarks.spans {{ arguments }}

# Run the contract of fleets with the engines that read them, newest and lowest versions: `just fleet-engines dask`.
fleet-engines *names:
    scripts/engines.sh {{ names }}

# Measure plans of many stores, parts beside streams, two processes beside one, columns decoded and from files.
bench-fleets *arguments:
    python -m benchmarks.fleets {{ arguments }}

# Measure what channels cost beside the engine: posts, folds of decisions, unread counts, frozen threads.
bench-rooms *arguments:
    python -m benchmarks.rooms {{ arguments }}

# Score the classifiers of chat threads on annotated logs, and measure what they cost.
bench-threads *arguments:
    python -m benchmarks.threads {{ arguments }}

# Measure how fast exports of other chat systems are imported.
bench-chat-imports *arguments:
    python -m benchmarks.chatimports {{ arguments }}

# Measure what keeping a span costs the program that ends it, where the SDK of OpenTelemetry is installed.
bench-spans-kept *arguments:
    python -m benchmarks.spans_kept {{ arguments }}

# Measure requests to a served store beside the reference server of the protocol: needs wrk and npm.
bench-served *arguments:
    python -m benchmarks.served {{ arguments }}

# SQL over a million records beside DuckDB over files: `just bench-sql --records 100000`.
bench-sql *arguments:
    python -m benchmarks.sql {{ arguments }}

# Measure how soon readers of a served store have what is appended, beside the reference server: npm.
bench-served-tails *arguments:
    python -m benchmarks.served_tails {{ arguments }}

# Measure `durable` appends (wrk, npm), `submit`, `start`, `memory` (npm): `just bench-served-more durable`.
bench-served-more what *arguments:
    python -m benchmarks.served_{{ what }} {{ arguments }}

# Serve the store at a path, for a look at its page.
serve store='runs' *arguments:
    python -m transit serve --store {{ store }} {{ arguments }}

# Run the protocol's own suite against the server: needs npm, and Node.js or pip to get it.
conformance:
    pytest rigs/server/test_conformance.py

# Measure what checkpoints and proofs cost.
bench-evidence *arguments:
    python -m benchmarks.evidence {{ arguments }}

# Encrypted stores beside clear ones: `just bench-encryption --records 30000`.
bench-encryption *arguments:
    python -m benchmarks.encryption {{ arguments }}

# Measure views beside a bare loop, maps beside other ordered stores, SQL, loops, and WebAssembly: `just bench-views maps`.
bench-views what="views" *arguments:
    python -m benchmarks.{{ what }} {{ arguments }}

# Count the system calls of one append of each system, with strace.
bench-syscalls *arguments:
    python -m benchmarks.syscalls {{ arguments }}

# Say where the time of a workload goes, with py-spy: `just bench-profile append-os`.
bench-profile *arguments:
    python -m benchmarks.profiles {{ arguments }}

# Write what `--json` of the three kept into docs/benchmarks.md, and its plots.
bench-page *arguments:
    python -m benchmarks.page {{ arguments }}

# Look for broken promises for so many seconds, with every rig or those named: `just soak 3600 7 crash`.
soak seconds='3600' *arguments:
    python rigs/soak.py {{ seconds }} {{ arguments }}

# Soak a server and its clients, which are killed all the while: `just soak-served --seconds 3600`.
soak-served *arguments:
    python -m rigs.server.soak {{ arguments }}

# Look for bytes that a decoder does not expect, for so many seconds, under atheris.
fuzz seconds='600' *targets:
    python rigs/fuzz/fuzz.py {{ seconds }} {{ targets }}

# Fail when a branch of formats, recovery, commits or publishing is run by no test of its own.
coverage:
    coverage run -m pytest -p no:cacheprovider -m '' -q tests/format tests/log/test_recover_*.py tests/log/test_commits_*.py tests/tier/test_conditional.py tests/tier/test_publish_*.py rigs/remote/test_regressions.py
    coverage report

# Plant small bugs in a module, `just mutation format/record`, and count which its tests notice.
mutation module *arguments:
    python scripts/mutation.py {{ module }} {{ arguments }}

# Record a few agent runs and read them back.
example:
    python examples/record_agent_runs.py

# Start an S3 server for the tests: Ceph, from Debian's packages.
s3-up *arguments:
    scripts/s3_up.sh {{ arguments }}

# Stop it; what was stored stays.
s3-down *arguments:
    scripts/s3_down.sh {{ arguments }}
