package puppet

import "fmt"

// DeliverScript is root's shell that unpacks the product's code of a commit from a tarball on the
// server, removes the tarball, and starts the unit without waiting for it. It is for the first
// provisioning from a base. It may be run again after a crash: code that is there stays, and a unit
// that has already reported for this commit is not started a second time.
func DeliverScript(commit, tarball string) string {
	return UnpackScript(commit, tarball) + StartScript(commit)
}

// UnpackScript is the first half of DeliverScript. An upgrade runs it, then writes Launch.Files,
// then runs StartScript.
func UnpackScript(commit, tarball string) string {
	return fmt.Sprintf(`set -eu
code=%[1]s tarball=%[2]s
if [ ! -d "$code" ]; then
	rm -rf "$code.new"
	mkdir -p "$code.new"
	tar -xf "$tarball" -C "$code.new" --no-same-owner
	mv "$code.new" "$code"
fi
rm -f "$tarball"
`, ProductDir(commit), tarball)
}

// StartScript is the second half of DeliverScript.
func StartScript(commit string) string {
	return fmt.Sprintf(`set -eu
systemctl daemon-reload
systemctl enable -q %[1]s
. %[2]s
if ! grep -qs "\"commit\": \"%[3]s\", \"stage\": \"$HALLMARK_STAGE\"" %[4]s; then
	systemctl reset-failed %[1]s 2>/dev/null || true
	systemctl start --no-block %[1]s
fi
`, Unit, SettingsPath, commit, StatusPath)
}
