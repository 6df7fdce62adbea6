#!/bin/sh
# Packs grind, installs the package as `npm install -g` does, into a folder of its own, and uses it from another folder: as the
# user who runs this and, run by root, as nobody, who cannot write to the installation. Takes a minute; not part of test/run.sh.
set -eu
cd "$(dirname "$0")/.."

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod a+rx "$place"
npm pack --silent --pack-destination "$place" >/dev/null
npm install --silent --global --prefix "$place/installed" --prefer-offline --no-audit --no-fund "$place"/grind-*.tgz
for path in LICENSE recorder/tool/COPYING dist/bin/page/uplot.LICENSE dist/analyses/index.d.ts; do
  test -s "$place/installed/lib/node_modules/grind/$path" || { echo "the package lacks $path" >&2; exit 1; }
done

cat >"$place/use.sh" <<'END'
set -eu
PATH=$1/bin:$PATH HOME=$2
export PATH HOME
unset XDG_CACHE_HOME
cd "$HOME"
grind record --quiet -- ls / >/dev/null
grind analyze memcheck >/dev/null
grind new-analysis large >/dev/null
grind analyze ./large.ts --least=1000 >/dev/null
grind report -o page.html 2>/dev/null
test "$(grind query "select count(*) > 100000 as it from accesses" --format csv | tail -1)" = true
test "$(grind query "select count(*) > 0 as it from large_blocks" --format csv | tail -1)" = true
END
chmod a+r "$place/use.sh"

if [ "$(id -u)" -eq 0 ]; then
  # First, so that nothing has been built in the installation yet.
  mkdir "$place/nobody"
  chown nobody "$place/nobody"
  setpriv --reuid=nobody --regid=nogroup --clear-groups sh "$place/use.sh" "$place/installed" "$place/nobody"
  test -d "$place/nobody/.cache/grind/build"
fi
mkdir "$place/home"
sh "$place/use.sh" "$place/installed" "$place/home"
echo "The installed package works."
