#!/usr/bin/env bash
# readers.sh [PYTEST ARGUMENT...] - open what transit exports with the readers of the tools it is for, pandas
# among them, take what OpenTelemetry's own exporters send, read columns with Polars and DataFusion, and have
# proofs and tiles judged by tools that are not ours.
# In an environment of their own: they ask for versions of other packages that transit does not.
# Harbor needs Python 3.12; where there is none, its test is skipped.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

uv=$(command -v uv || true)
if [[ -z $uv ]]; then
    python3 -m venv "$work/uv"
    "$work/uv/bin/pip" install -q uv
    uv=$work/uv/bin/uv
fi

readers=(
    pandas inspect-ai opentelemetry-proto opentelemetry-proto-json openinference-semantic-conventions
    opentelemetry-sdk opentelemetry-exporter-otlp-proto-http polars datafusion
)
python=$(command -v python3)
for found in "$(command -v python3.12 || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python3; do
    if [[ -x $found ]] && "$found" -c '' 2>/dev/null; then
        python=$found
        readers+=(harbor)
        break
    fi
done

"$uv" venv -q --python "$python" "$work/env"
"$uv" pip install -q --python "$work/env" -e '.[test]' "${readers[@]}"
# Tools that tests run as commands: nothing of theirs is imported.
"$uv" venv -q --python "$python" "$work/outside"
"$uv" pip install -q --python "$work/outside" proofbundle==6.3 tlog-scales==0.0.3
export TRANSIT_OUTSIDE=$work/outside/bin
python=$work/env/bin/python
echo "== exports opened by the readers of other tools, with $("$python" --version)"
"$python" -m pytest -n 2 -p no:cacheprovider tests/trace/test_files_exporting.py \
    tests/trace/test_files_notes.py tests/trace/test_pandas.py \
    tests/server/otlp/test_exporters.py tests/views/test_scanning.py rigs/outside/test_judges.py "$@"
