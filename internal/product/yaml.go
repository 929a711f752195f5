package product

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// duplicate is a key that a mapping has twice: readers take the last one, and the first is silently lost.
type duplicate struct {
	line            int
	problem, remedy string
}

// duplicates finds them at any depth.
func duplicates(n *yaml.Node) (found []duplicate) {
	if n.Kind == yaml.MappingNode {
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if line, ok := first[key.Value]; ok && key.Kind == yaml.ScalarNode && key.Value != "<<" {
				found = append(found, duplicate{key.Line, fmt.Sprintf("key %s is there twice, also in line %d", key.Value, line), "keep one of them"})
				continue
			}
			first[key.Value] = key.Line
		}
	}
	for _, child := range n.Content { // not of aliases: theirs are seen where they stand
		found = append(found, duplicates(child)...)
	}
	return found
}
