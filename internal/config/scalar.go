package config

import (
	"encoding"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/cost"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	sizeType     = reflect.TypeFor[Size]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isScalar reports whether v is one value: text, number, truth, duration, size, date, or a type
// that reads itself from text.
func isScalar(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return v.Type() == timeType || reflect.PointerTo(v.Type()).Implements(textType)
}

// scalar reads one value from the file, where also the way it is written counts: 1.0 is a number,
// "1.0" is text.
func (r *reader) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		r.at(n, path, "is "+describe(n)+", not "+wanted(v), "write one value")
		return
	}
	tag, plainText := n.ShortTag(), v.Kind() == reflect.String && !reflect.PointerTo(v.Type()).Implements(textType)
	if plainText && tag != "!!str" {
		r.at(n, path, "is "+describe(n)+", not text", "put it in quotes: "+strconv.Quote(n.Value))
		return
	}
	if (v.Kind() == reflect.Int || v.Kind() == reflect.Bool) && tag == "!!str" && n.Style != 0 {
		r.at(n, path, "is text, not "+wanted(v), "remove the quotes")
		return
	}
	if problem, remedy := parse(n.Value, v); problem != "" {
		r.at(n, path, problem, remedy)
	}
}

// parse reads one value from text, as flags and environment variables give it too. It says what is
// wrong and what would be right.
func parse(text string, v reflect.Value) (problem, remedy string) {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && v.Type() != timeType {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return unreadableText(text, v, err)
		}
		return "", ""
	}
	switch v.Type() {
	case durationType:
		d, err := ParseDuration(text)
		v.SetInt(int64(d))
		return because(err, text, "write a number with its unit: 90s, 5m, 2h, 7d")
	case sizeType:
		s, err := ParseSize(text)
		v.SetInt(int64(s))
		return because(err, text, "write a whole number with its unit: 512MiB, 2GiB")
	case timeType:
		t, err := ParseExpiry(text)
		v.Set(reflect.ValueOf(t))
		if err != nil {
			err = fmt.Errorf("is no date")
		}
		return because(err, text, "write it as 2026-12-31")
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Sprintf("%q is not true or false", text), "write true or false"
		}
		v.SetBool(text == "true")
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > math.MaxInt32 || n < math.MinInt32 {
			return fmt.Sprintf("%q is no whole number", text), "write digits only"
		}
		v.SetInt(n)
	}
	return "", ""
}

// unreadableText says what a type that reads itself made of text. Ours say themselves what to do.
func unreadableText(text string, v reflect.Value, err error) (problem, remedy string) {
	switch v.Interface().(type) {
	case netip.AddrPort:
		return fmt.Sprintf("%q is no address with a port", text), "write it as 10.90.0.1:3142"
	case cost.Price:
		return fmt.Sprintf("%q is no price", text), "write a number as 0.0416"
	case netip.Prefix:
		return fmt.Sprintf("%q is no range of addresses", text), "write it as 10.91.0.0/16"
	}
	return fmt.Sprintf("%q %v", text, err), ""
}

func because(err error, text, hint string) (problem, remedy string) {
	if err == nil {
		return "", ""
	}
	return fmt.Sprintf("%q %v", text, err), hint
}

func wanted(v reflect.Value) string {
	switch v.Type() {
	case durationType:
		return "a duration"
	case sizeType:
		return "a size"
	case timeType:
		return "a date"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a number"
	}
	return "text"
}
