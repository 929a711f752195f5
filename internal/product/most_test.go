package product

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/egress"
)

const greedy = `version: 1
name: a
roles:
  b: {bastion: true, memory: 4GiB, disk: 8GiB}
  w: {health: {command: 'true'}, cpus: 9, memory: 5GiB, disk: 9GiB, processes: 501}
topology:
  - role: b
  - role: w
    volumes:
      - {name: data, size: 1TiB}
`

// What a product asks for beyond what the installation gives is told with file, line, key and remedy.
func TestRefusesTheGreedy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, File), []byte(greedy), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := decode([]byte(greedy), false)
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = dir
	most := Most{CPUs: 8, MemoryMiB: 4096, DiskMiB: 8192, Processes: 500}
	const raise = "; ask for less, or ask the people who run Hallmark to raise provider.incus.most."
	want := "hallmark.yaml:5: roles.w.cpus: is 9, more than the 8 that it may have" + raise + "cpus\n" +
		"hallmark.yaml:5: roles.w.memory: is 5120MiB, more than the 4096MiB that it may have" + raise + "memory\n" +
		"hallmark.yaml:5: roles.w.disk: is 9216MiB, more than the 8192MiB that it may have" + raise + "disk\n" +
		"hallmark.yaml:5: roles.w.processes: is 501, more than the 500 that it may have" + raise + "processes\n" +
		"hallmark.yaml:10: topology[1].volumes[0].size: is 1048576MiB, more than the 8192MiB that it may have" + raise + "disk"
	if err := p.Refused(egress.Policy{}, most); err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	if said := p.Beyond(most); strings.Count(said, "; ") != 4 || !strings.Contains(said, "the volume data of w is 1048576MiB") {
		t.Error(said)
	}
	if err := p.Refused(egress.Policy{}, Most{}); err != nil {
		t.Errorf("without bounds: %v", err)
	}
	most = Most{CPUs: 9, MemoryMiB: 5120, DiskMiB: 1 << 20, Processes: 501}
	if err := p.Refused(egress.Policy{}, most); err != nil {
		t.Errorf("exactly what it may: %v", err)
	}
}

// By default there are bounds, and on EC2 the types of instances are the bounds.
func TestMostOf(t *testing.T) {
	var c config.Config
	c.Default()
	if m := MostOf(c); m.MemoryMiB == 0 || m.DiskMiB == 0 || m.Processes == 0 {
		t.Errorf("%+v", m)
	}
	c.Provider.Kind = "ec2"
	if m := MostOf(c); m != (Most{}) {
		t.Errorf("%+v", m)
	}
}
