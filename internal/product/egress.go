package product

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hallmark-ci/hallmark/internal/config"
	"github.com/hallmark-ci/hallmark/internal/egress"
)

// Refused looks whether an installation allows what the product asks for: under egress, and for its servers. What it does not allow comes as config.Errors, each with its line.
func (p *Product) Refused(policy egress.Policy, most Most) error {
	if len(p.Egress) == 0 && p.Beyond(most) == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(p.Dir, File))
	if err != nil {
		return fmt.Errorf("read %s: %w", File, err)
	}
	return config.Decode(File, data, &file{policy: &policy, most: &most, released: true})
}

// checkEgress looks at what the product asks for: at each entry, and at all together.
func (f *file) checkEgress(at config.Place) {
	var all []egress.Destination
	for i, text := range f.Egress {
		key := fmt.Sprintf("egress[%d]", i)
		d, err := egress.Parse(text)
		if err != nil {
			at.Problem(key, fmt.Sprintf("%q %v", text, err), "write address/prefix:port, such as 192.0.2.7/32:443")
			continue
		}
		all = append(all, d)
		if f.policy == nil {
			continue
		}
		if why, err := f.policy.Refusal(d); err != nil {
			at.Problem(key, fmt.Sprintf("%q cannot be looked at: %v", text, err), "run the check again")
		} else if why != "" {
			at.Problem(key, fmt.Sprintf("%q %s", text, why), "remove it, or ask the people who run Hallmark to list it under environment.egress")
		}
	}
	if wide := egress.TooWide(all); wide != "" {
		at.Problem("egress", wide, "name the addresses that servers need, and no more")
	}
}
