#!/usr/bin/env bash
# Prints a version's section of CHANGELOG.md. Fails if the changelog or template.yaml is not ready
# for it:
#   scripts/release-notes.sh v1.2.3
set -euo pipefail
version="${1:?give the tag, such as v1.2.3}"
version="${version#v}"

heading="$(grep -m1 -F "## [$version]" CHANGELOG.md)" || {
  echo "release-notes: CHANGELOG.md has no section for $version" >&2
  exit 1
}
if ! [[ "$heading" =~ ^\#\#\ \[[^]]+\]\ -\ [0-9]{4}-[0-9]{2}-[0-9]{2}$ ]]; then
  echo "release-notes: give the section a date, as in: ## [$version] - 2026-01-31" >&2
  exit 1
fi
# SAM's repository accepts only three numbers, so a pre-release such as v1.2.3-rc.1 is 1.2.3 there.
if ! grep -qxF "    SemanticVersion: ${version%%-*}" template.yaml; then
  echo "release-notes: SemanticVersion in template.yaml is not ${version%%-*}" >&2
  exit 1
fi

awk -v heading="$heading" '
  $0 == heading { on = 1; next }
  on && /^## / { exit }
  on { print }
' CHANGELOG.md
