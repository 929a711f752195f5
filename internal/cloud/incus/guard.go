package incus

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// guarded is a table of our own beside Incus'. For every bridge Incus lets port 53 of the whole host
// through, ahead of any ACL: a server could ask the DNS of another environment's bridge, or of a
// network with a way out, and carry data through it. Here a server may ask that address only which
// the host has on the server's own bridge. Loading it again replaces it.
const guarded = `table inet hallmark
delete table inet hallmark
table inet hallmark {
	chain input {
		type filter hook input priority filter; policy accept;
		iifname "` + bridgePrefix + `*" meta l4proto { tcp, udp } th dport 53 fib daddr . iif type != local drop
	}
}
`

// guard sees to what holds for all environments, and is gone after a restart of the host: the table, and
// the quotas of the storage pool. So it is called whenever a process begins to work with Incus and before a
// network is made.
func (p *Provider) guard(ctx context.Context) error {
	pool, err := p.connect("").Pool(ctx, p.cfg.Pool)
	if err != nil {
		return fail("find storage pool "+p.cfg.Pool, err)
	}
	if err := incusd.HoldQuotas(ctx, pool); err != nil {
		return fail("make the quotas of storage pool "+p.cfg.Pool+" hold, which takes root", err)
	}
	return p.guardDNS(ctx)
}

// guardDNS loads the table.
func (p *Provider) guardDNS(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(guarded)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fail("guard the environments' DNS with nft, which takes root",
			fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String())))
	}
	return nil
}
