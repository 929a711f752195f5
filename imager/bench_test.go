package imager

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/puppet"
)

const imageGoal = 1.15

// BenchmarkImage builds the image of a role of the reference product (HALLMARK_BENCH_ROLE, else the
// bastion) by Build and by hand, from the same base, with the same launch data and package cache. Each
// counts from nothing to an image with everything temporary gone; by hand nothing is sealed, searched
// or described. The two take turns at being first, so that what else happens on the machine hits both,
// and one round by hand before that warms the cache and unpacks the base.
func BenchmarkImage(b *testing.B) {
	role := cmp.Or(os.Getenv("HALLMARK_BENCH_ROLE"), "bastion")
	dir := b.TempDir()
	name := fmt.Sprintf("imager-bench-%d", os.Getpid())
	spec, deps, end, err := realSite(b.Context(), dir, name, role, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		defer end()
		clear(b, deps.Provider, spec.Owner)
	})
	hand := newByHand(b, spec, filepath.Join(dir, "code.tar"))
	hand.build("warm")

	for b.Loop() {
		var ours, theirs time.Duration
		for n, oursFirst := range []bool{true, false} {
			round := fmt.Sprintf("%d", n)
			build := func() {
				took, steps := benchBuild(b, spec, deps, round)
				ours += took
				fmt.Printf("\n  Build    %5.1f s  %s", took.Seconds(), steps)
			}
			byHand := func() {
				took, steps := hand.build(round)
				theirs += took
				fmt.Printf("\n  by hand  %5.1f s  %s", took.Seconds(), steps)
			}
			if oursFirst {
				build()
				byHand()
			} else {
				byHand()
				build()
			}
		}
		ratio := ours.Seconds() / theirs.Seconds()
		b.ReportMetric(ratio, "ratio")
		b.ReportMetric(ours.Seconds()/2, "s/image")
		b.ReportMetric(theirs.Seconds()/2, "s/by-hand")
		fmt.Printf("\nimage of %s: ratio of Build to the same by hand %.2f (goal: at most %.2f)\n", role, ratio, imageGoal)
	}
}

// benchBuild is one Build, and what its steps took.
func benchBuild(b *testing.B, spec Spec, deps Deps, round string) (time.Duration, string) {
	b.Helper()
	spec.Run += "-" + round
	began := time.Now()
	result, err := Build(b.Context(), spec, deps)
	took := time.Since(began)
	if err != nil {
		b.Fatalf("%v\n%s\n%+v", err, result.Lines, result.Audit)
	}
	var steps []string
	for _, s := range result.Steps {
		if !strings.Contains(s.Step, ledger.TimingPart) && s.Took >= 50*time.Millisecond {
			steps = append(steps, fmt.Sprintf("%s %.1f", s.Step, s.Took.Seconds()))
		}
	}
	return took, strings.Join(steps, ", ")
}

// clear removes what an owner has: images, and what a failed benchmark left.
func clear(b *testing.B, provider cloud.Provider, owner string) {
	ctx := context.WithoutCancel(b.Context())
	left, err := provider.Owned(ctx, owner)
	if err != nil {
		b.Error(err)
	}
	for _, kind := range cloud.Kinds() {
		for _, r := range left {
			if r.Kind != kind {
				continue
			}
			if err := provider.Delete(ctx, r); err != nil {
				b.Error(err)
			}
		}
	}
}

// byHand makes an image as a person would with the incus command and the same Puppet code.
type byHand struct {
	b       *testing.B
	spec    Spec
	archive string
	data    string // what the server is told, as the imager tells it
}

// newByHand takes the launch data of a bench. The bootstrap user is in it, for it is part of the work
// of cloud-init; nobody logs in.
func newByHand(b *testing.B, spec Spec, archive string) byHand {
	b.Helper()
	data, err := puppet.Launch{
		Commit: spec.Commit, Stage: puppet.StageBake, Environment: "byhand", Server: environment.BenchServer, Role: spec.Role,
		Packages: spec.Product.Puppet.Packages, CacheURL: "http://10.90.0.1:3142", Timeout: spec.Product.Puppet.Timeout, OnBase: true,
		Bootstrap: &puppet.Bootstrap{
			User:      environment.BootstrapUser,
			PublicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA nobody",
		},
	}.UserData()
	if err != nil {
		b.Fatal(err)
	}
	return byHand{b: b, spec: spec, archive: archive, data: data}
}

// build goes from nothing to an image and back to nothing but the image, which goes when the
// benchmark ends.
func (h byHand) build(round string) (time.Duration, string) {
	h.b.Helper()
	// The name of a bridge has at most 15 characters.
	network, server := fmt.Sprintf("ib%d%s", os.Getpid(), round[:1]), fmt.Sprintf("%s-%s", h.spec.Owner, round)
	image := server + "-by-hand"
	h.b.Cleanup(func() { // what is gone already does not matter
		for _, left := range [][]string{{"delete", "--force", server}, {"network", "delete", network}, {"image", "delete", image}} {
			_ = exec.Command("incus", left...).Run()
		}
	})
	code := puppet.ProductDir(h.spec.Commit)
	began := time.Now()
	var steps []string
	for _, step := range []struct {
		name     string
		commands [][]string
	}{
		{"launch", [][]string{
			// A range beside the one that environments have. Incus itself finds none on every machine.
			{"network", "create", network, fmt.Sprintf("ipv4.address=10.92.%d.1/24", os.Getpid()%256), "ipv4.nat=false", "ipv6.address=none", "raw.dnsmasq=no-resolv", "dns.domain=hallmark.internal"},
			{"launch", "--quiet", string(h.spec.Base.ID), server, "--no-profiles", "-s", "hallmark", "-n", network, "-c", "cloud-init.user-data=" + h.data},
			{"exec", server, "--", "cloud-init", "status", "--wait"},
			{"file", "push", "--quiet", h.archive, server + "/root/code.tar"},
			{"exec", server, "--", "bash", "-ec", "mkdir -p " + code + "; tar -xf /root/code.tar -C " + code + " --no-same-owner; rm /root/code.tar"},
		}},
		{"provision", [][]string{{"exec", server, "--", puppet.ScriptPath}}},
		{"stop", [][]string{{"stop", server}}},
		{"capture", [][]string{{"publish", "--quiet", server, "--compression", "none", "--alias", image}}},
		{"undo", [][]string{{"delete", server}, {"network", "delete", network}}},
	} {
		at := time.Now()
		for _, command := range step.commands {
			h.incus(command...)
		}
		steps = append(steps, fmt.Sprintf("%s %.1f", step.name, time.Since(at).Seconds()))
	}
	return time.Since(began), strings.Join(steps, ", ")
}

func (h byHand) incus(args ...string) {
	h.b.Helper()
	cmd := exec.CommandContext(h.b.Context(), "incus", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		h.b.Fatalf("incus %s: %v\n%s", strings.Join(args[:2], " "), err, tail(out.Bytes(), 30))
	}
}
