package imager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/puppet"
	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// minSecret is the length below which a search finds words that are no secret.
const minSecret = 8

// sealServer takes from the server what an image must not keep, and looks whether it is gone: inspect proves it. All of it is one shell
// that gets its script from stdin: afterwards nobody can become root there, and no secret that is
// searched for is an argument of a process. The journal knows before that it begins; that it is done
// it learns when the server is down (see stop), for a sealed server that boots again is not sealed any
// more. A crash between the two costs the bench.
func sealServer(ctx context.Context, b *build) error {
	session, err := b.bench.Session(ctx)
	if err != nil {
		return err
	}
	b.description.Timings = slices.Clone(b.steps)
	if err := b.deps.Journal.Save(ctx, b.benchID, Entry{Description: b.description}); err != nil {
		return err
	}
	result, err := session.Run(ctx, remote.Command{
		Line: "exec bash -s", Sudo: true, Stdin: strings.NewReader(sealScript(b.spec.Secrets)), Timeout: 5 * time.Minute,
	})
	if err != nil {
		return err
	}
	if result.Exit != 0 {
		b.lines = tail(append(result.Stdout, result.Stderr...), 40)
		// The server has just answered on the session it was provisioned by, and sealing asks
		// nobody else; a look at it now would need the root that is gone.
		b.audit = verdict.Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true}
		return verdict.Errorf(verdict.ImageNotSealed, environment.BenchServer, "role %s: %s", b.spec.Role, tail(result.Stdout, 5))
	}
	return nil
}

// searched is where something of a product or an environment may have been left. What packages
// bring under /usr is theirs.
const searched = "/boot /etc /home /opt /root /srv /usr/local /var"

// sealScript is Puppet's seal with its check, then the search for secrets.
func sealScript(secrets []string) string {
	// Nothing in the first part may read the rest of the script away.
	return "(\n" + puppet.SealScript() + ") </dev/null\nsealed=$?\n" + searchScript(secrets, searched) + "exit $sealed\n"
}

// endOfSecrets ends the here-document that they are given in.
const endOfSecrets = "HALLMARK-END-OF-SECRETS"

// searchScript names the files below some folders that hold a secret, and then sets sealed=1. A
// here-document of this size goes through a pipe or a file of memory, never to the disk.
func searchScript(secrets []string, folders string) string {
	if len(secrets) == 0 {
		return ""
	}
	return fmt.Sprintf(`export TMPDIR=/run
found=$(grep -rlF --devices=skip -f /dev/stdin %[1]s 2>/dev/null <<'%[2]s'
%[3]s
%[2]s
)
while read -r f; do [ -z "$f" ] || { echo "left: a secret in $f"; sealed=1; }; done <<<"$found"
sync
`, folders, endOfSecrets, strings.Join(secrets, "\n"))
}
