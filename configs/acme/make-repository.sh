#!/bin/bash
# Makes a git repository of this product: branch release/1.0 (this tree with release-1.0/ laid over
# it, less what release-1.0/REMOVED names) and, on top of it, branch main. Author and dates are
# fixed, so commits are the same on every machine.
set -euo pipefail
dir=${1:?which directory? usage: make-repository.sh DIR}
source=$(cd "$(dirname "$0")" && pwd)
if [ -e "$dir" ]; then
	echo "make-repository.sh: $dir exists already: remove it, or name another directory" >&2
	exit 2
fi
mkdir -p "$(dirname "$dir")"
work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 0755 "$work"

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_NOSYSTEM=1 TZ=UTC
export GIT_AUTHOR_NAME='Acme operations' GIT_AUTHOR_EMAIL=ops@acme.test
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

parts=(app hallmark.yaml puppet release suites tests)

# tree replaces the work tree by this product.
tree() {
	find "$work" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
	for part in "${parts[@]}"; do cp -R "$source/$part" "$work/"; done
}

# save MESSAGE DATE commits the work tree.
save() {
	git -C "$work" add --all
	GIT_AUTHOR_DATE=$2 GIT_COMMITTER_DATE=$2 git -C "$work" commit -q -m "$1"
}

git init -q -b main "$work"

tree
for part in "${parts[@]}"; do
	[ ! -e "$source/release-1.0/$part" ] || cp -R "$source/release-1.0/$part" "$work/"
done
while read -r path; do rm -rf "${work:?}/$path"; done <"$source/release-1.0/REMOVED"
save 'Acme 1.0' '2026-03-02T09:00:00+0000'
git -C "$work" branch release/1.0

tree
save 'Acme 1.1: more room, plans for agencies, salts of one'\''s own, no memcached' '2026-09-14T09:00:00+0000'

mv -T "$work" "$dir"
trap - EXIT
