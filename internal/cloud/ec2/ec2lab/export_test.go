package ec2lab

import (
	"maps"
	"slices"
)

// Actions are all that the lab has.
func Actions() []string { return slices.Sorted(maps.Keys(actions)) }
