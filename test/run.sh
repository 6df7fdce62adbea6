#!/bin/sh
# Does what the tests need (packages, npm ci), then runs lint and all tests. Ends with the test runner's
# closing lines and its exit status.
set -eu
cd "$(dirname "$0")/.."

. bin/packages.sh
need_node
need_packages valgrind:/usr/include/valgrind/pub_tool_basics.h gcc:gcc libc6-dev:/usr/include/stdio.h pkg-config:pkg-config \
  g++:g++ strace:strace sqlite3:sqlite3 python3:/usr/bin/python3 perl:perl git:git gzip:gzip xz-utils:xz bsdutils:script chromium:chromium \
  zsh:zsh fish:fish mandoc:mandoc groff:groff cmake:cmake make:make \
  python3-junitparser:/usr/lib/python3/dist-packages/junitparser

npm ci --no-audit --no-fund </dev/null
npm run lint
exec npm test </dev/null
