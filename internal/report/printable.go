package report

import (
	"reflect"
	"regexp"
	"strings"
	"unicode"
)

// escape is a sequence that a terminal obeys, in its 7-bit form (ECMA-48): CSI, OSC and other strings,
// or ESC and one more character.
var escape = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])?`)

// Printable takes everything out of a text that would steer a terminal or reorder a page: escape
// sequences, control characters except newline and tab, and marks of writing direction. Names of
// tests, messages, subjects of commits and lines of logs come from products and servers, and pass here
// before a person sees them: New does it for whole reports, the command line for what it prints.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, escape.ReplaceAllString(text, ""))
}

// printable makes every text in a value printable, however deep it lies: in a structure that has a
// new field tomorrow, too. Maps and slices are copied first, for they belong to others.
func printable(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); v.CanSet() {
			v.SetString(Printable(text))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				printable(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		fresh := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(fresh, v)
		for i := range fresh.Len() {
			printable(fresh.Index(i))
		}
		v.Set(fresh)
	case reflect.Map:
		if v.IsNil() {
			return
		}
		fresh := reflect.MakeMapWithSize(v.Type(), v.Len())
		for key, value := range v.Seq2() {
			fresh.SetMapIndex(printed(key), printed(value))
		}
		v.Set(fresh)
	case reflect.Pointer:
		if !v.IsNil() {
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(printed(v.Elem()))
			v.Set(fresh)
		}
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(printed(v.Elem()))
		}
	}
}

// printed is a printable copy of a value.
func printed(v reflect.Value) reflect.Value {
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	printable(fresh)
	return fresh
}
