package product

import (
	"fmt"
	"path"
	"strings"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// Check refuses what would allow more than one can see: a rule is for one file, or for a few of one name.
func (s *fileSealRule) Check(at config.Place) {
	const remedy = "name the file; * may stand for a part of its path, such as the commit in /opt/hallmark/product/*/tests/key.pem"
	folders := strings.Split(strings.TrimPrefix(s.Path, "/"), "/")
	_, err := path.Match(s.Path, "/")
	switch {
	case err != nil:
		at.Problem("path", fmt.Sprintf("%q is no pattern: %v", s.Path, err), remedy)
	case !strings.HasPrefix(s.Path, "/"), path.Clean(s.Path) != s.Path, s.Path == "/":
		at.Problem("path", fmt.Sprintf("%q is no path from the root", s.Path), "write it whole, such as /srv/app/tests/key.pem")
	case strings.Contains(s.Path, "**"):
		at.Problem("path", fmt.Sprintf("%q has ** in it, which means no more than *", s.Path), remedy)
	case strings.ContainsAny(folders[0], `*?[\`), strings.Trim(folders[len(folders)-1], "*?") == "":
		at.Problem("path", fmt.Sprintf("%q would allow all that is in a folder", s.Path), remedy)
	}
	filled(at, "reason", s.Reason)
}
