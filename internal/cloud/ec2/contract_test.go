package ec2_test

import (
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/cloudtest"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func TestContract(t *testing.T) {
	for name, spot := range map[string]bool{"on demand": false, "spot": true} {
		t.Run(name, func(t *testing.T) { contract(t, func(c *ec2.Config) { c.Spot = spot }) })
	}
}

func contract(t *testing.T, change func(*ec2.Config)) {
	const moment = 2 * time.Millisecond
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		b := newBenchOf(t, "contract", ec2lab.Config{Delays: ec2lab.Delays{
			Visible: moment, Launch: moment, Stop: moment, Image: moment, Copy: moment, Volume: moment, Validate: moment,
		}}, func(c *ec2.Config) {
			c.Poll = moment
			c.Publish = []ec2.Offer{{Channels: []string{"contract-b"}, Regions: []string{elsewhere}}}
			change(c)
		})
		base := b.base()
		return cloudtest.Fixture{
			Provider: b.p, Owner: "contract", Base: base, Patience: 20 * time.Second,
			Pause:    func(time.Duration) { time.Sleep(moment) },
			BaseSpec: cloud.BaseSpec{Name: baseName, Digest: string(base.ID)},
			Family:   func(prefix string) string { return "self/" + prefix + "*" },
		}
	})
}
