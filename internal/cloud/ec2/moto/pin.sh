#!/bin/sh
# Writes requirements.txt: moto as a server and AWS CLI, and everything that they need, each in the one version that is
# tried here, with the digests of its wheels for Debian 12 on both architectures. To go to another version
# change it below and run this. What moto[server] would bring beside (CloudFormation, Lambda, and so on)
# is left out: nobody asks for it.
set -eu
cd "$(dirname "$0")"
want='moto==5.2.5 flask flask-cors pyyaml awscli==1.46.3'

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
/usr/bin/python3 -m venv "$dir/venv"
for machine in x86_64 aarch64; do
	platforms=
	for libc in manylinux_2_34 manylinux_2_28 manylinux_2_17 manylinux2014; do
		platforms="$platforms --platform ${libc}_$machine"
	done
	# shellcheck disable=SC2086 # both are lists
	"$dir/venv/bin/pip" download --quiet --dest "$dir/wheels" --only-binary :all: --python-version 3.11 $platforms $want
done

{
	echo '# Written by pin.sh.'
	for wheel in "$dir"/wheels/*.whl; do
		name=$(basename "$wheel" | cut -d- -f1,2)
		echo "$name $(sha256sum "$wheel" | cut -d' ' -f1)"
	done | sort | awk '
		$1 != last { if (last) print ""; split($1, part, "-"); printf "%s==%s", part[1], part[2]; last = $1 }
		{ printf " \\\n    --hash=sha256:%s", $2 }
		END { print "" }'
} >"$dir/requirements.txt"
mv "$dir/requirements.txt" requirements.txt
