package environment

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/remote"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// packagesCommand lists packages as "installed name version".
const packagesCommand = `dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n'`

// Packages gives name and version of what is installed on a session's server. No package at all is
// an error, for then the list is not one.
func Packages(ctx context.Context, session remote.Session, server string) (map[string]string, error) {
	result, err := session.Run(ctx, remote.Command{Line: packagesCommand, Bound: 16 << 20, Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	if err := whole(result, server, "the list of packages"); err != nil {
		return nil, err
	}
	if result.Exit != 0 {
		return nil, verdict.Errorf(verdict.Unexplained, server, "list packages: exit code %d: %s", result.Exit, bytes.TrimSpace(result.Stderr))
	}
	found := make(map[string]string)
	for line := range strings.Lines(string(result.Stdout)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "installed" {
			found[f[1]] = f[2]
		}
	}
	if len(found) == 0 {
		return nil, verdict.Errorf(verdict.Unexplained, server, "dpkg lists no packages")
	}
	return found, nil
}
