package incus

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
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
	if err := p.holdQuotas(ctx); err != nil {
		return err
	}
	return p.guardDNS(ctx)
}

// holdQuotas sees to it that root disks and volumes are bounded. It is called as often as servers are looked at,
// for the kernel may give up on that at any time.
func (p *Provider) holdQuotas(ctx context.Context) error {
	return fail("make the quotas of storage pool "+p.cfg.Pool+" hold, which takes root", p.quotas.Hold(ctx))
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
