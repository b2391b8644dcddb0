#!/bin/sh
# Make the pinned, hashed requirement files again: `make requirements`. No index address is written into them.
set -eu
uv=$1
cd "$(dirname "$0")/.."
compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --no-header --upgrade "$@"
}
compile pyproject.toml --group dev --output-file requirements/dev.txt
echo 'uv' | compile - --output-file requirements/uv.txt
