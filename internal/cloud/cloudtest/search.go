package cloudtest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Place is a file or a folder of this host that may keep what it should not.
type Place struct {
	Path  string
	Since time.Time // files that were not changed since then are not read; zero: all are
	But   []string  // folders below it that are left out
}

// OfIncus are the places where Incus keeps things on this host, but for the disks of servers: its database with all
// old parts of it, logs, and what was written elsewhere since some time, images and temporary files too.
func OfIncus(since time.Time) []Place {
	const incus, database = "/var/lib/incus", "/var/lib/incus/database"
	return []Place{
		{Path: database}, {Path: "/var/log/incus"},
		{Path: incus, Since: since, But: []string{database, incus + "/storage-pools", incus + "/disks"}},
		{Path: "/run/incus", Since: since}, {Path: "/var/cache/incus", Since: since},
		{Path: os.TempDir(), Since: since}, {Path: "/var/tmp", Since: since},
	}
}

// Search lists the files of places that hold a secret, each once with the secret's number: as it is, in base64 and in
// hexadecimal, plain or compressed by gzip. A secret has to be random and of 12 bytes or more. What goes away while it
// is looked at does not count.
func Search(secrets []string, places ...Place) (found []string, err error) {
	var needles [][]byte
	var of []int
	for i, secret := range secrets {
		if len(secret) < 12 {
			return nil, fmt.Errorf("secret %d is too short to be looked for", i)
		}
		for _, form := range forms(secret) {
			needles, of = append(needles, form), append(of, i)
		}
	}
	for _, place := range places {
		err := filepath.WalkDir(place.Path, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if entry.IsDir() && slices.Contains(place.But, path) {
				return fs.SkipDir
			}
			info, err := entry.Info()
			if !entry.Type().IsRegular() || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || info.ModTime().Before(place.Since) {
				return err
			}
			hits, err := holds(path, needles)
			for _, at := range hits {
				if hit := fmt.Sprintf("%s holds secret %d", path, of[at]); !slices.Contains(found, hit) {
					found = append(found, hit)
				}
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("search %s: %w", place.Path, err)
		}
	}
	return found, nil
}

// forms are the spellings that are looked for. In base64 a secret looks different in each of three places.
func forms(secret string) [][]byte {
	all := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret)))}
	for shift := range 3 {
		coded := base64.StdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		all = append(all, []byte(coded[4:len(coded)-4])) // without what its neighbours have a share in
	}
	return all
}

// holds gives the needles that a file holds, by number.
func holds(path string, needles [][]byte) ([]int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [2]byte
	if n, _ := f.ReadAt(magic[:], 0); n == 2 && magic == [2]byte{0x1f, 0x8b} {
		if z, err := gzip.NewReader(f); err == nil {
			found, err := in(z, needles)
			if err == nil && len(found) > 0 {
				return found, nil
			}
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return in(f, needles)
}

// in reads to the end, in pieces that overlap.
func in(r io.Reader, needles [][]byte) (found []int, err error) {
	longest := 0
	for _, needle := range needles {
		longest = max(longest, len(needle))
	}
	buffer, kept := make([]byte, 1<<20+longest), 0
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		text := buffer[:kept+n]
		for i, needle := range needles {
			if bytes.Contains(text, needle) && !slices.Contains(found, i) {
				found = append(found, i)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		kept = copy(buffer, text[len(text)-longest:])
	}
}
