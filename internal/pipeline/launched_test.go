package pipeline_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/pipeline"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// mistaken tells of one server another image than it was launched from.
type mistaken struct {
	cloud.Provider
	server string
	image  cloud.ImageID
}

func (p mistaken) Servers(ctx context.Context, f cloud.Filter) ([]cloud.Server, error) {
	servers, err := p.Provider.Servers(ctx, f)
	for i := range servers {
		if servers[i].Name == p.server {
			servers[i].Image = p.image
		}
	}
	return servers, err
}

// One server that was launched from another image is enough: its role is not proved by the others.
func TestEveryServerWasLaunchedFromItsImage(t *testing.T) {
	t.Parallel()
	g := young(t)
	g.cfg.Limits.Attempts = 1
	g.commit("two of web", map[string]string{
		"hallmark.yaml": strings.Replace(productFiles()["hallmark.yaml"], "{role: web,", "{role: web, count: 2,", 1),
	})
	g.cloud = cloud.With(mistaken{g.cloud, "web-1", "another"}, cloud.CapabilitiesOf(g.cloud))
	d, run := g.pass(pipeline.Request{})
	if run.Verdict != verdict.Inconclusive || !strings.Contains(d.tree(), `web-1: it was launched from image "another"`) {
		t.Errorf("run is %s\n%s", run.Verdict, d.tree())
	}
	if c := d.channel("development"); c.Set != "" {
		t.Errorf("development holds %s", c.Set)
	}
}
