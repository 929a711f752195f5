package ec2lab

import (
	"maps"
	"slices"
)

// Actions are all that the lab has.
func Actions() []string { return slices.Sorted(maps.Keys(actions)) }

// Rights says whether the lab knows what an action needs.
func Rights(action string) bool { return rights[action] != nil }
