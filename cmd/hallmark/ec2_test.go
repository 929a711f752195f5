package main_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/report"
	"github.com/hallmark-ci/hallmark/internal/soak/small"
)

// TestEmptyAccount follows "From an empty account to the first promoted image" of docs/ec2.md word for
// word, in the laboratory: a whole nightly run through the EC2 provider on real servers, under the
// page's policy, and nothing left of it but the images that the channel's parameters name.
func TestEmptyAccount(t *testing.T) {
	t.Parallel()
	m := onRealServers(t, "")
	m.smallProduct()
	lab := m.lab()
	page, err := os.ReadFile("../../docs/ec2.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := commands(t, string(page), "From an empty account to the first promoted image")
	if !strings.Contains(blocks[0], "export AWS_DEFAULT_REGION=") {
		t.Fatalf("the first commands of the page are not what is the user's own, but:\n%s", blocks[0])
	}
	blocks[0] = strings.Join([]string{
		"export AWS_DEFAULT_REGION=eu-lab-1", "reach=" + lab.setting("reach"), "cache=" + lab.setting("cache"), "product=" + m.repo,
	}, "\n")
	m.checkout()
	said := m.follow(strings.Join(blocks, "\n"), "AWS_ENDPOINT_URL="+lab.setting("endpoint"))

	l, err := ledger.Open(context.Background(), m.file("state/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	runs, err := l.Runs(context.Background(), ledger.RunFilter{})
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, want one: %v", len(runs), err)
	}
	r := read[report.Report](m, "runs", "show", runs[0].ID)
	if r.Status != report.Good {
		t.Fatalf("the run came to %s", r.Status)
	}
	for _, want := range []string{"verify", "upgrade from release/1.0 by rolling"} {
		if !slices.ContainsFunc(r.Scenarios, func(s report.Scenario) bool { return s.Name == want }) {
			t.Errorf("no scenario %q in the report", want)
		}
	}
	if len(r.Images) != 3 {
		t.Errorf("%d images, want one for each of 3 roles", len(r.Images))
	}
	for _, i := range r.Images {
		if want := "/hallmark/development/" + i.Role + "\t" + i.Digest; !strings.Contains(said, want) {
			t.Errorf("no parameter %q", want)
		}
		if !regexp.MustCompile(`(?m)^` + i.Digest + `\t.*\tavailable$`).MatchString(said) {
			t.Errorf("%s of %s is not among the account's images", i.Digest, i.Role)
		}
	}
	m.nothingInAccount(lab)
}

// smallProduct puts the small product in place of acme, with a release branch that differs: what this test
// is about is the account, and a night of acme in a laboratory takes three times as long.
func (m *machine) smallProduct() {
	m.t.Helper()
	m.smallTree()
	m.shell(`cd ` + m.repo + ` && commit="git -c user.name=test -c user.email=test@example.org commit -q"
git init -q -b release/1.0 && git add -A && $commit -m 1.0
git checkout -q -b main && $commit --allow-empty -m 1.1`)
}

// smallTree puts the small product's tree in place of acme's repository.
func (m *machine) smallTree() {
	m.t.Helper()
	if err := os.RemoveAll(m.repo); err != nil {
		m.t.Fatal(err)
	}
	if err := small.Write(m.repo, "../../configs/acme"); err != nil {
		m.t.Fatal(err)
	}
}

// laboratory is a running `hallmark lab ec2`.
type laboratory struct {
	t        *testing.T
	settings string
}

func (l laboratory) setting(key string) string {
	l.t.Helper()
	found := regexp.MustCompile(`(?m)^\s*` + key + `: \[?([^\s\]]+)`).FindStringSubmatch(l.settings)
	if found == nil {
		l.t.Fatalf("the laboratory does not say what %s is:\n%s", key, l.settings)
	}
	return found[1]
}

// lab starts a laboratory of its own and ends it with the test.
func (m *machine) lab() laboratory {
	m.t.Helper()
	m.inLaboratory = true
	cmd := exec.Command(m.binary, "--state-dir", m.file("lab"), "--product-repository", m.repo,
		"lab", "ec2", "--name", "account", "--cidr", "10.93.0.0/16", "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd.Stderr = m.log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			m.t.Errorf("the laboratory: %v", err)
		}
	})
	l := laboratory{t: m.t}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		l.settings += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "  name:") { // the last line
			return l
		}
	}
	m.t.Fatalf("the laboratory did not start:\n%s", l.settings)
	return l
}

// commands gives what a page tells people to type below a heading.
func commands(t *testing.T, page, heading string) []string {
	t.Helper()
	_, section, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the page has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for _, block := range regexp.MustCompile("(?s)\n```sh\n(.*?)\n```\n").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, block[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("nothing is to be typed below %q", heading)
	}
	return blocks
}

// checkout is what a clone of this repository would be, for commands that are run in one: the files
// that they name, and the binaries as they were built for the test.
func (m *machine) checkout() {
	m.t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		m.t.Fatal(err)
	}
	m.shell("cd " + m.dir + " && ln -s " + root + "/configs " + root + "/docs . && printf 'build:\\n' >Makefile")
}

// follow types commands, as a person would who has AWS CLI and an administrator's credentials.
func (m *machine) follow(script string, env ...string) string {
	m.t.Helper()
	aws, err := filepath.Abs("../../bin/moto/bin")
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(aws, "aws")); err != nil {
		m.t.Fatalf("AWS CLI is not there: run `make moto` (%v)", err)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), append(env,
		"PATH="+aws+":"+os.Getenv("PATH"), "AWS_ACCESS_KEY_ID=root", "AWS_SECRET_ACCESS_KEY=root", "AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null",
	)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, m.log
	if err := cmd.Run(); err != nil {
		said := out.String()
		m.t.Fatalf("%v; what was said ended with:\n%s", err, said[max(0, len(said)-5000):])
	}
	return out.String()
}

// nothingInAccount asks the account itself, as its root: of the run there are the images that were
// promoted, those of the release branch that is live, and their snapshots.
func (m *machine) nothingInAccount(lab laboratory) {
	m.t.Helper()
	left := m.follow(`export AWS_DEFAULT_REGION=eu-lab-1
aws ec2 describe-instances --filters Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down --query 'Reservations[].Instances[].InstanceId' --output text
aws ec2 describe-volumes --query 'Volumes[].VolumeId' --output text
aws ec2 describe-network-interfaces --query 'NetworkInterfaces[].NetworkInterfaceId' --output text
aws ec2 describe-security-groups --query 'SecurityGroups[?GroupName!=`+"`default`"+`].GroupName' --output text
aws ec2 describe-spot-instance-requests --query 'SpotInstanceRequests[].SpotInstanceRequestId' --output text
aws ec2 describe-key-pairs --query 'KeyPairs[].KeyName' --output text`, "AWS_ENDPOINT_URL="+lab.setting("endpoint"))
	if strings.TrimSpace(left) != "" {
		m.t.Errorf("left over in the account:\n%s", left)
	}
	images := m.follow(`export AWS_DEFAULT_REGION=eu-lab-1
aws ec2 describe-images --owners self --query 'Images[].BlockDeviceMappings[].Ebs.SnapshotId' --output text | tr '\t' '\n' | sort
echo -
aws ec2 describe-snapshots --owner-ids self --query 'Snapshots[].SnapshotId' --output text | tr '\t' '\n' | sort`, "AWS_ENDPOINT_URL="+lab.setting("endpoint"))
	of, all, _ := strings.Cut(images, "-\n")
	if of != all || strings.Count(of, "\n") != 6 {
		m.t.Errorf("want the snapshots of six images, and no others:\n%s", images)
	}
}
