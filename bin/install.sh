#!/bin/sh
# Installs everything grind needs on Debian or Ubuntu (Node 20 or newer must be there), builds it, records a
# sample program and shows a query's answer. Asks nothing; needs root or sudo only if packages are missing.
set -eu
cd "$(dirname "$0")/.."

. bin/packages.sh
need_node
need_packages valgrind:/usr/include/valgrind/pub_tool_basics.h gcc:gcc libc6-dev:/usr/include/stdio.h pkg-config:pkg-config

npm ci --no-audit --no-fund </dev/null
npm run --silent build
node dist/recorder/build.js
node dist/replay/native.js >/dev/null

run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
gcc -g -O1 test/guests/sample.c -o "$run/sample"
echo
echo '$ grind record -- ./sample'
node dist/bin/grind.js record --out "$run" --name sample-run -- "$run/sample"
sql="select function, loads, stores, stored_bytes from accesses_by_function where module like '%/sample' limit 4"
echo
echo "\$ grind query \"$sql\""
node dist/bin/grind.js query "$run/sample-run" "$sql"
echo
echo "grind is ready: node $(pwd)/dist/bin/grind.js (or run 'npm link' once, then 'grind')."
