package ec2lab

import (
	"context"
)

// twice is how often in a row a machine must be seen down: one that reboots from within is down for a
// moment, too.
const twice = 2

// watch looks for machines that powered themselves off, until the lab is closed.
func (l *Lab) watch(ctx context.Context) {
	for l.cfg.Clock.Sleep(ctx, l.cfg.Watch) == nil {
		began := l.cfg.Clock.Now()
		if !l.anyRunning() {
			continue
		}
		runs, err := l.host.Running(ctx)
		if err != nil {
			if ctx.Err() == nil {
				l.cfg.Log.Warn("look at the machines", "err", err)
			}
			continue
		}
		l.locked(func() {
			for _, r := range l.regions {
				for _, i := range r.instances {
					// What changed while we looked, or is being changed, looks different next time.
					if i.state != running || i.waiting > 0 || i.since.After(began) || runs[i.id] {
						i.absent = 0
						continue
					}
					if i.absent++; i.absent >= twice {
						l.poweredOff(i)
					}
				}
			}
		})
	}
}

func (l *Lab) anyRunning() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.regions {
		for _, i := range r.instances {
			if i.state == running {
				return true
			}
		}
	}
	return false
}

// poweredOff is what the API makes of a shutdown from within. Called with mu held.
func (l *Lab) poweredOff(i *instance) {
	why := &reason{"Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"}
	if i.shutdown == "terminate" || i.request != nil && !i.request.persistent {
		l.terminate(i, "", why, false)
		return
	}
	l.enter(i, stopped, "", why)
}
