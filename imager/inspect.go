package imager

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/environment"
	"github.com/hallmark-ci/hallmark/internal/ledger"
	"github.com/hallmark-ci/hallmark/internal/seal"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// inspect proves the seal on the disk of the stopped server, after all that the shutdown wrote: what the cleaning on
// the server said of itself is not enough, for a server may say anything. Where a provider shows no disks, the image
// has no record of a seal. The journal knows the record before the image is captured.
func inspect(ctx context.Context, b *build) error {
	disks := cloud.CapabilitiesOf(b.deps.Provider).DiskReader
	if disks == nil {
		return nil
	}
	var kept []seal.Kept
	for _, rule := range b.spec.Product.SealOf(b.spec.Role) {
		kept = append(kept, seal.Kept{Path: rule.Path, Reason: rule.Reason})
	}
	var report seal.Report
	err := disks.ReadDisk(ctx, b.bench.Server(), func(ctx context.Context, disk fs.FS) (err error) {
		report, err = seal.Check(ctx, disk, slices.Concat(b.spec.Secrets, b.bench.Secrets()), kept)
		return err
	})
	switch {
	case err != nil:
		return err
	case report.Files == 0: // a look that saw nothing proves nothing
		return verdict.Errorf(verdict.Unexplained, environment.BenchServer, "role %s: the disk of the stopped server is empty", b.spec.Role)
	case len(report.Left) > 0:
		// The server is stopped, as it should be, and its disk is all that this rests on.
		b.audit = verdict.Audit{Done: true, AllRunning: true, ExpectedBoots: true, PackageSources: true}
		var lines []string
		for _, f := range report.Left {
			lines = append(lines, f.String())
		}
		b.lines = strings.Join(lines, "\n")
		return verdict.Errorf(verdict.ImageNotSealed, environment.BenchServer, "role %s: %s", b.spec.Role, summary(lines))
	}
	b.description.Seal = record(report)
	for _, rule := range report.Idle {
		b.deps.Log.Warn("the product allows images to keep a path where nothing was found", "run", b.spec.Run, "role", b.spec.Role, "path", rule.Path)
	}
	return b.deps.Journal.Save(ctx, b.benchID, Entry{Sealed: true, Description: b.description})
}

// summary is as much of what is left as a message holds.
func summary(lines []string) string {
	const most = 5
	if more := len(lines) - most; more > 0 {
		lines = append(slices.Clone(lines[:most]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// record is what the ledger keeps of a look at a sealed disk.
func record(r seal.Report) *ledger.Seal {
	s := &ledger.Seal{Files: r.Files, Bytes: r.Bytes, Kept: []ledger.KeptPath{}, Idle: []ledger.SealRule{}}
	for _, f := range r.Excused {
		s.Kept = append(s.Kept, ledger.KeptPath{Path: f.Path, What: f.What, Reason: f.Reason})
	}
	for _, rule := range r.Idle {
		s.Idle = append(s.Idle, ledger.SealRule(rule))
	}
	return s
}
