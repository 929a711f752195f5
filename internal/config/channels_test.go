package config

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestChannelOf(t *testing.T) {
	for branch, want := range map[string]string{
		"main":           "main",
		"release/1.0":    "release-1.0",
		"release-1.0":    "release__1.0",
		"release/1.0-RC": "release-1.0___r_c",
		"release/1.0-rc": "release-1.0__rc",
		"Release/1.0":    "_release-1.0",
		"release_1.0":    "release_0951.0",
		"release/ü$(x)":  "release-_195_188_036_040x_041",
	} {
		if got := ChannelOf(branch); got != want {
			t.Errorf("%s has channel %s, want %s", branch, got, want)
		}
	}
}

// Whatever branches are called, no two have one channel, and every name can be that of a channel.
func TestNoTwoBranchesHaveOneChannel(t *testing.T) {
	const seed = 3
	random := rand.New(rand.NewPCG(seed, seed))
	alphabet := []string{"a", "A", "b", "-", "--", "/", ".", "_", "0", "09", "195", "ü", strings.Repeat("long/", 20)}
	allowed := regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)
	branches := map[string]string{} // by channel
	for range 200_000 {
		var b strings.Builder
		for range 1 + random.IntN(5) {
			b.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		branch := b.String()
		channel := ChannelOf(branch)
		if other, ok := branches[channel]; ok && other != branch {
			t.Fatalf("%q and %q both have channel %s (seed %d)", branch, other, channel, seed)
		}
		branches[channel] = branch
		if !allowed.MatchString(channel) {
			t.Fatalf("%q has channel %q (seed %d)", branch, channel, seed)
		}
	}
}

// A branch's own channel is never one that the configuration names itself.
func TestChannelOfABranchIsNoneOfTheConfiguration(t *testing.T) {
	var c Config
	c.Default()
	c.Product.Releases = "*"
	for _, branch := range []string{"production", "development"} {
		if name, err := c.Channel("release", branch); err == nil || !strings.Contains(err.Error(), "rename the branch, or set policy.release.channel") {
			t.Errorf("branch %s gets channel %q, %v", branch, name, err)
		}
	}
	for _, want := range []struct{ kind, branch, channel string }{
		{"nightly", "main", "development"}, {"release", "release/1.0", "release-1.0"}, {"release", "Production", "_production"},
	} {
		if name, err := c.Channel(want.kind, want.branch); err != nil || name != want.channel {
			t.Errorf("%+v: channel %q, %v", want, name, err)
		}
	}
	nightly := c.Policy["nightly"]
	nightly.Channel = "{branch}"
	c.Policy["nightly"] = nightly
	if got := fmt.Sprint(c.Channels()); got != "[main production]" {
		t.Errorf("channels of the configuration are %s", got)
	}
	if name, err := c.Channel("release", "main"); err == nil {
		t.Errorf("release branch main gets channel %s, which is that of the nights", name)
	}
	if name, err := c.Channel("nightly", "main"); err != nil || name != "main" {
		t.Errorf("nights go to %q, %v", name, err)
	}
}

func TestFits(t *testing.T) {
	var c Config
	c.Default()
	c.Product.Retired = []string{"release/0.9"}
	var got []string
	for _, kind := range kinds {
		for _, branch := range []string{"main", "release/1.0", "release/0.9", "release/1/x", "feature/x"} {
			if c.Fits(kind, branch) == nil {
				got = append(got, kind+" "+branch)
			}
		}
	}
	if want := []string{"nightly main", "release release/1.0"}; !slices.Equal(got, want) {
		t.Errorf("these fit: %q, want %q", got, want)
	}
}
