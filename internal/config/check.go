package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Place is where a struct stands in a file. Its Check reports problems there.
type Place struct {
	reader *reader
	path   string
}

// Problem reports what is wrong with a key of the struct (or a path under it, such as
// "require[0].origins"; "" for the struct itself) and what to do about it.
func (p Place) Problem(key, problem, remedy string) {
	path := p.path
	switch {
	case strings.HasPrefix(key, "["):
		path += key
	case key != "":
		path = join(path, key)
	}
	p.reader.report(path, problem, remedy)
}

// Has reports whether the file (or a flag or variable) gives the key.
func (p Place) Has(key string) bool {
	path := join(p.path, key)
	_, inFile := p.reader.lines[path]
	_, given := p.reader.given[path]
	return inFile || given
}

// sound reports whether no problem was found with the key or under it so far ("" for the struct itself).
func (p Place) sound(key string) bool {
	path := p.path
	if key != "" {
		path = join(path, key)
	}
	return !slices.ContainsFunc(p.reader.problems, func(e *Error) bool { return under(e.Key, path) })
}

// OneOf reports a value that is none of the allowed words.
func (p Place) OneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.Problem(key, fmt.Sprintf("%q is not known here", value), Hint(value, allowed))
	}
}

// AtLeast reports a number that is too small.
func (p Place) AtLeast(key string, value, least int) {
	if value < least {
		p.Problem(key, fmt.Sprintf("is %d", value), fmt.Sprintf("use %d or more", least))
	}
}

var name = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// Name reports a value that is no name: lower-case letters, digits and dashes, a letter first, at
// most longest characters.
func (p Place) Name(key, value string, longest int) {
	switch {
	case !name.MatchString(value) || strings.HasSuffix(value, "-"):
		p.Problem(key, fmt.Sprintf("%q is no name", value), "use lower-case letters, digits and dashes, a letter first")
	case len(value) > longest:
		p.Problem(key, fmt.Sprintf("%q has %d characters", value, len(value)), fmt.Sprintf("use %d at most", longest))
	}
}

// check looks for required keys that are missing, then asks every struct that could be read in full
// whether it makes sense, the inner ones first.
func (r *reader) check(into any) {
	r.checkValue("", reflect.ValueOf(into).Elem())
}

func (r *reader) checkValue(path string, v reflect.Value) {
	switch {
	case isScalar(v):
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			r.checkValue(path, v.Elem())
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			r.checkValue(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case v.Kind() == reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			element := reflect.New(v.Type().Elem()).Elem() // an element of a map can't be addressed
			element.Set(v.MapIndex(key))
			r.checkValue(join(path, key.String()), element)
			v.SetMapIndex(key, element)
		}
	case v.Kind() == reflect.Struct:
		r.checkStruct(path, v)
	}
}

func (r *reader) checkStruct(path string, v reflect.Value) {
	if slices.Contains(r.unread, path) {
		return
	}
	fields := fieldsOf(v.Type())
	for i := range v.NumField() {
		for key, f := range fields {
			if f.index != i {
				continue
			}
			at := join(path, key)
			if f.required && v.Field(i).IsZero() && !(Place{r, path}).Has(key) {
				r.report(at, "is missing", r.missing)
				r.unread = append(r.unread, at)
			}
			r.checkValue(at, v.Field(i))
		}
	}
	if c, ok := v.Addr().Interface().(interface{ Check(Place) }); ok && !r.troubled(path) {
		c.Check(Place{reader: r, path: path})
	}
}
