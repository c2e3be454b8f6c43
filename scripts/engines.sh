#!/usr/bin/env bash
# engines.sh [NAME[:highest]...] - run the contract of fleets, tests/fleet/test_engines.py, and the job on real files,
# rigs/fleet/test_real.py, with the engines that read them, each in an environment of its own: dask, ray, spark, and
# streams, which is DuckDB, Polars and DataFusion. With the newest versions, and, unless the name says "highest", with
# the lowest that are known to work; with Dask's newest, the page docs/guide/engines.md too. Without a name: all of them.
# The job needs an S3 server, as `just s3-up` starts one, else it has moto's; and ../shared/data, else it is skipped.
# Environments are made in the folder TRANSIT_ENGINES, and stay there; without it in one that is removed.
set -euo pipefail

# name | lowest versions; the newest are of the same packages
table() {
    cat <<'END'
dask | dask[dataframe]>=2025.1.0 distributed>=2025.1.0 pandas>=2.3.3
ray | ray[data]>=2.48.0 pandas>=2.3.3
spark | pyspark>=4.0.0
streams | duckdb>=2.0.0 polars datafusion
END
}

page=docs/guide/engines.md
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kept=${TRANSIT_ENGINES:-$work}
mkdir -p "$kept"

uv=$(command -v uv || true)
if [[ -z $uv ]]; then
    python3 -m venv "$work/uv"
    "$work/uv/bin/pip" install -q uv
    uv=$work/uv/bin/uv
fi

# run NAME RESOLUTION PACKAGE...
run() {
    local name=$1 resolution=$2 environment=$kept/$1-$2
    local python=$environment/bin/python
    shift 2
    "$uv" venv -q --allow-existing "$environment"
    "$uv" pip install -q --python "$environment" --resolution "$resolution" \
        -e '.[arrow,encryption,s3,testing]' 'moto[server]>=5.2.5' "$@"
    echo "== engine $name, $resolution versions, with $("$python" --version)"
    "$python" -m pytest -p no:cacheprovider -m '' tests/fleet/test_engines.py
    # What is not installed is skipped.
    "$python" -m pytest -p no:cacheprovider -m '' rigs/fleet/test_real.py -k "files_say or each_engine or a_worker"
    if [[ $name == dask && $resolution == highest && -f $page ]]; then
        "$python" -m pytest -p no:cacheprovider -m '' tests/project/test_docs_run.py -k "$page"
    fi
}

found=0
while IFS='|' read -r name packages; do
    name=${name// /}
    if [[ $# != 0 && " $* " != *" $name "* && " $* " != *" $name:highest "* ]]; then continue; fi
    found=$((found + 1))
    if [[ $name == spark && -z ${JAVA_HOME:-$(command -v java || true)} ]]; then
        echo "engines.sh: Spark needs Java" >&2
        exit 1
    fi
    read -ra packages <<<"$packages"
    run "$name" highest "${packages[@]}" </dev/null
    if [[ $name != streams && " $* " != *" $name:highest "* ]]; then
        run "$name" lowest-direct "${packages[@]}" </dev/null
    fi
done < <(table)
if [[ $found == 0 ]]; then
    echo "engines.sh: none of: $*" >&2
    exit 2
fi
