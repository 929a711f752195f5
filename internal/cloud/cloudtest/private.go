package cloudtest

import (
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

func (s *story) confidant() bool { return cloud.CapabilitiesOf(s.Provider).Confidant != nil }

// privateFile is one in folders that are not there yet, and one in a folder that is.
func (s *story) privateFile() []cloud.PrivateFile {
	return []cloud.PrivateFile{
		{Path: "/etc/contract/deep/private", Content: cloud.Secret(s.private + "\n")},
		{Path: "/etc/contract-private", Content: cloud.Secret(s.private + "\n")},
	}
}

// tellsPrivate is shell that says on the console what a server finds of private files.
func (s *story) tellsPrivate(files []cloud.PrivateFile) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, `echo "contract: private $(stat -c "%%U:%%G %%a" %[1]s), $(stat -c "%%U:%%G %%a" %[2]s), $(sha256sum <%[1]s)" >/dev/console; `, f.Path, path.Dir(f.Path))
	}
	return b.String()
}

// privateFiles: a Confidant brings them, for root alone and whole; another refuses them.
func (s *story) privateFiles(t *testing.T) {
	spec := s.serverSpec("contract-private", s.Base.ID)
	if !s.confidant() {
		spec.Name, spec.Address, spec.Volumes = other, s.network.Addresses[other], nil
		spec.Private = s.privateFile()
		_, err := s.Provider.Launch(t.Context(), spec)
		wantCode(t, err, "launch with private files, which the provider does not bring", cloud.CodeRefused)
		return
	}
	if s.Boots {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(s.private+"\n")))
		s.awaitConsole(t, "contract: private root:root 600, root:root 755, "+sum)
		said, err := s.Provider.Console(t.Context(), s.server.ID)
		must(t, err, "console")
		if n := strings.Count(string(said), "contract: private root:root 600, root:root 755, "+sum); n != len(spec.Private) {
			t.Errorf("%d of %d private files are as they should be:\n%s", n, len(spec.Private), said)
		}
	}
	if s.Kept == nil {
		return
	}
	if kept, err := s.Kept(s.public); err != nil || len(kept) == 0 { // else the search proves nothing
		t.Errorf("user-data, which the provider keeps, is found nowhere: %v", err)
	}
	s.notKept(t)
}

// privateIsGone: when all is removed, nothing private is left on this host.
func (s *story) privateIsGone(t *testing.T) {
	if !s.confidant() || s.Kept == nil {
		t.Skip("not a Confidant, or not known where it keeps things")
	}
	s.notKept(t)
}

func (s *story) notKept(t *testing.T) {
	t.Helper()
	kept, err := s.Kept(s.private)
	must(t, err, "look for what is kept")
	for _, place := range kept {
		t.Errorf("the content of a private file is kept: %s", place)
	}
}
