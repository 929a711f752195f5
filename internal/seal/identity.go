package seal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Identities gives what on a disk belongs to this one server: a digest of the content by path. It is every file of
// the list of identities that is there, and every private key. Two servers of one image have none in common.
func Identities(ctx context.Context, disk fs.FS) (map[string]string, error) {
	report, err := Check(ctx, disk, nil, nil)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, f := range report.Left {
		named := slices.ContainsFunc(identities, func(p place) bool { return p.what == f.What })
		if !named && !strings.HasPrefix(f.What, "a private key") {
			continue
		}
		if all[f.Path], err = digest(disk, f.Path); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return all, nil
}

func digest(disk fs.FS, full string) (string, error) {
	name := strings.TrimPrefix(full, "/")
	if target, info := (&check{disk: disk}).follow(name); info != nil {
		name = target // full is a link
	}
	content, err := disk.Open(name)
	if err != nil {
		return "", err
	}
	defer content.Close()
	h := sha256.New()
	if _, err := io.Copy(h, content); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
