package environment

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/host"
	"github.com/hallmark-ci/hallmark/internal/remote"
)

// strainWithin is how far back an audit looks at the host: the time in which a time-out ended that it was
// called for.
const strainWithin = 5 * time.Minute

// looks and restless: a server on which, at so many of the looks, some process wants a processor or waits
// for a disk has work that it does not get done.
const looks, restless = 12, 4

// restlessScript prints at how many of the looks any process but itself ran, could run, or waited for a
// disk. What hangs does none of these.
var restlessScript = `busy=0
for look in $(seq ` + strconv.Itoa(looks) + `); do
	for file in /proc/[0-9]*/stat; do
		{ read -r stat <$file; } 2>/dev/null || continue
		[ "${stat%% *}" != $$ ] || continue
		case ${stat##*) } in R* | D*) busy=$((busy + 1)); break ;; esac
	done
	sleep 0.25
done
echo $busy`

// lookAtHost finds out whether a time-out may be the host's fault: it was short of something, more than
// longer time-outs make up for, and a server that has to do with the trouble has work that waits. On
// servers that are at rest something hangs, however busy their host is.
func (x *examination) lookAtHost(ctx context.Context) {
	if x.env.site.Room != nil {
		if err := x.env.site.Room(ctx); err != nil {
			x.NoRoom = true
			x.find("the disk: %v", err)
		}
	}
	pace := host.PaceOf(ctx)
	strain := pace.Since(x.env.site.clock().Now().Add(-strainWithin))
	if len(strain.Findings) == 0 {
		return
	}
	for _, server := range x.inside {
		busy, err := x.env.restless(ctx, server)
		if err != nil {
			x.find("%s: whether it has work that waits cannot be read: %v", server, err)
		}
		x.Starved = x.Starved || err != nil || busy >= restless
	}
	if len(x.inside) == 0 {
		x.Starved = true // nothing shows that they are at rest
	}
	if x.Starved {
		x.Findings = append(x.Findings, strain.Findings...)
	}
}

// restless counts looks at which a server had work.
func (e *Environment) restless(ctx context.Context, server string) (int, error) {
	session, err := e.enter(ctx, server)
	if err != nil {
		return 0, err
	}
	r, err := session.Run(ctx, remote.Command{Line: restlessScript, Sudo: true, Timeout: 30 * time.Second})
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(r.Stdout)))
}
