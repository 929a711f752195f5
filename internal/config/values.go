package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written with its unit: 512MiB, 2GiB.
type Size int64

// Units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// MiB gives the size in mebibytes, rounded up.
func (s Size) MiB() int64 { return int64((s + MiB - 1) / MiB) }

// String writes the size with the largest unit that fits.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.size == 0 {
			return fmt.Sprintf("%d%s", s/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

var sizeUnits = []struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}

var errSize = errors.New("is no size")

// ParseSize reads a whole number with a unit of KiB, MiB, GiB or TiB.
func ParseSize(text string) (Size, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil || n > uint64(math.MaxInt64/int64(u.size)) {
			break
		}
		return Size(n) * u.size, nil
	}
	return 0, errSize
}

var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

var errDuration = errors.New("is no duration")

// ParseDuration reads 90s, 5m, 1h30m, and also 7d for days of 24 hours. It takes no negative ones.
func ParseDuration(text string) (time.Duration, error) {
	var total time.Duration
	if m := days.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, errDuration
		}
		total = time.Duration(n) * 24 * time.Hour
		if text = m[2]; text == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || text == "0" || d > math.MaxInt64-total {
		return 0, errDuration
	}
	return total + d, nil
}

// ParseExpiry reads a date (2026-12-31: the whole of that day, UTC, still belongs to it) or a full
// RFC 3339 time.
func ParseExpiry(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return time.Parse(time.RFC3339, text)
}

// Age is how long something is kept: a duration, or forever, which is its zero.
type Age time.Duration

// UnmarshalText reads forever or a duration.
func (a *Age) UnmarshalText(text []byte) error {
	if string(text) == "forever" {
		*a = 0
		return nil
	}
	d, err := ParseDuration(string(text))
	if err != nil || d == 0 {
		return errors.New("is no age: write forever, or a duration such as 30d")
	}
	*a = Age(d)
	return nil
}

// Over reports whether what began at a time is older at another.
func (a Age) Over(since, now time.Time) bool {
	return a > 0 && now.Sub(since) > time.Duration(a)
}
