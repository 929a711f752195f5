package cloudtest

import "testing"

func TestLeavesOut(t *testing.T) {
	chapters := []chapter{{name: "launch"}, {name: "publish"}}
	for what, c := range map[string]struct {
		cannot map[string]string
		ok     bool
	}{
		"nothing":             {nil, true},
		"with a reason":       {map[string]string{"publish": "there is nobody to publish to"}, true},
		"without one":         {map[string]string{"publish": ""}, false},
		"what is not there":   {map[string]string{"publishing": "there is nobody to publish to"}, false},
		"one of two is there": {map[string]string{"publish": "nobody", "fly": "no wings"}, false},
	} {
		if err := leavesOut(chapters, c.cannot); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
