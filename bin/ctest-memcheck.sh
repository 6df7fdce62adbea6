#!/bin/sh
# A memory checker for CTest (MEMORYCHECK_COMMAND, with MEMORYCHECK_TYPE Valgrind): takes Valgrind's place and the options that
# CTest gives it. Each recording stays beside its log, LOG.run, for further questions.
set -eu
options=
while [ $# -gt 0 ]; do
  case $1 in
    --log-file=*) log=${1#*=} ;;
    -q | --tool=memcheck) ;;
    --show-reachable=yes) options="$options --show-leak-kinds=all" ;;
    -*) options="$options $1" ;;
    *) break ;;
  esac
  shift
done
rm -rf "$log.run"
status=0
grind record --quiet --out "$(dirname "$log")" --name "$(basename "$log").run" -- "$@" || status=$?
# shellcheck disable=SC2086
grind analyze memcheck "$log.run" --log-file="$log" $options >/dev/null
exit $status
