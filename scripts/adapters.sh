#!/usr/bin/env bash
# adapters.sh [NAME...] - test adapters beside their stacks, each in an environment of its own: tests/adapters/NAME,
# the page docs/guide/NAME*.md, and, where ../shared/tools/adapters is, what judges it there. With the newest
# versions, and with the lowest that the extra NAME allows. Without a name: all of them.
set -euo pipefail

# name | beside the extra of that name, for the newest versions | what judges it, of the class's import path; …
table() {
    cat <<'END'
langgraph | langgraph-checkpoint-conformance | langgraph_suite.py transit.adapters.langgraph.TransitSaver
otel | | otel_loss.py transit.adapters.otel.TransitSpanProcessor
litellm | opentelemetry-sdk |
clients | opentelemetry-instrumentation-genai-openai>=1.3b0 opentelemetry-instrumentation-genai-anthropic>=1.3b0 opentelemetry-sdk |
openai_agents | | agents_offline.py processor transit.adapters.openai_agents.TransitTracingProcessor; agents_offline.py session transit.adapters.openai_agents.TransitSession
claude | trio | session_stores.py claude transit.adapters.claude.TransitSessionStore
pydantic_ai | | session_stores.py pydantic transit.adapters.pydantic_ai.TransitConversationStore
inspect | | inspect_offline.py transit.adapters.inspect_ai.TransitHooks
END
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
judges=$root/../shared/tools/adapters
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

uv=$(command -v uv || true)
if [[ -z $uv ]]; then
    python3 -m venv "$work/uv"
    "$work/uv/bin/pip" install -q uv
    uv=$work/uv/bin/uv
fi

# run NAME RESOLUTION PACKAGES JUDGE
run() {
    local name=$1 resolution=$2 more=$3 judge=$4 environment=$work/$1-$2
    local extra=${name//_/-} page each
    page=$(compgen -G "docs/guide/$extra*.md" || true)
    if [[ $name == otel ]]; then page=docs/guide/opentelemetry.md; fi
    "$uv" venv -q "$environment"
    # shellcheck disable=SC2086  # several words
    "$uv" pip install -q --python "$environment" --resolution "$resolution" \
        -e ".[$extra,cli,client,encryption,s3,server,testing]" 'pytest-xdist>=3.8.0' 'moto[server]>=5.2.5' $more
    local python=$environment/bin/python
    echo "== adapter $name, $resolution versions, with $("$python" --version)"
    "$python" -m pytest -n 2 -p no:cacheprovider -m '' "tests/adapters/$name"
    if [[ $resolution == highest ]]; then
        [[ -z $page ]] || "$python" -m pytest -p no:cacheprovider -m '' tests/project/test_docs_run.py -k "$page"
        [[ -d $judges ]] || return 0
        while [[ -n $judge ]]; do
            each=${judge%%;*}
            # shellcheck disable=SC2086
            PYTHONPATH=$judges "$python" "$judges"/$each
            [[ $judge == *";"* ]] || break
            judge=${judge#*; }
        done
    fi
}

found=0
while IFS='|' read -r name more judge; do
    name=${name// /}
    if [[ $# == 0 || " $* " == *" $name "* ]]; then
        found=$((found + 1))
        run "$name" highest "$more" "${judge# }" </dev/null
        run "$name" lowest-direct "" "" </dev/null
    fi
done < <(table)
if [[ $found == 0 ]]; then
    echo "adapters.sh: none of: $*" >&2
    exit 2
fi
