package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes bounds what is read: a configuration is written by people.
const maxFileBytes = 1 << 20

// Read reads a YAML file strictly into a struct. What is wrong comes as Errors, all of it; a file
// that can't be read comes as an Error too.
func Read(file string, into any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return unreadable(file, err)
	}
	return Decode(file, data, into)
}

func unreadable(file string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	remedy := "check its name and permissions"
	if errors.Is(err, os.ErrNotExist) {
		remedy = "create it, or give the right path"
	}
	return Errors{{File: file, Problem: "cannot be read: " + err.Error(), Remedy: remedy}}
}

// Decode reads YAML text strictly into a struct; file names it in errors.
func Decode(file string, data []byte, into any) error {
	r := newReader(file)
	r.read(data, into)
	r.check(into)
	return Join(r.problems)
}

// reader walks a document and a struct side by side and remembers where each key stands.
type reader struct {
	file     string
	missing  string            // what to do about a key that is missing
	lines    map[string]int    // path of a key → its line
	given    map[string]string // path of a key → the flag or variable that overrides the file
	unread   []string          // paths of what could not be read, so that it isn't judged as well
	problems []*Error
}

func newReader(file string) *reader {
	return &reader{file: file, missing: "add it", lines: map[string]int{}, given: map[string]string{}}
}

// report collects a problem with the key at path; a key that is not in the file is placed at the
// nearest key around it.
func (r *reader) report(path, problem, remedy string) {
	e := &Error{File: r.file, Key: path, Problem: problem, Remedy: remedy}
	if source, ok := r.given[path]; ok {
		e.File = source
	} else {
		for at := path; e.Line == 0 && at != ""; at = parent(at) {
			e.Line = r.lines[at]
		}
		if e.Line == 0 {
			e.Line = r.lines[""]
		}
	}
	r.problems = append(r.problems, e)
}

// at reports a node that can't be read as what stands at path.
func (r *reader) at(n *yaml.Node, path, problem, remedy string) {
	r.unread = append(r.unread, path)
	r.problems = append(r.problems, &Error{File: r.file, Line: n.Line, Key: path, Problem: problem, Remedy: remedy})
}

// troubled reports whether something at path or under it could not be read.
func (r *reader) troubled(path string) bool {
	return slices.ContainsFunc(r.unread, func(unread string) bool { return under(unread, path) })
}

// under reports whether a path is another one, or leads on from there.
func under(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return top == "" || ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s*)?line (\d+): (.*)`)

func (r *reader) read(data []byte, into any) {
	if len(data) > maxFileBytes {
		r.whole(&Error{Problem: fmt.Sprintf("is larger than %d bytes", maxFileBytes), Remedy: "is it the right file?"})
		return
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		r.whole(r.syntax(err))
		return
	}
	if len(document.Content) == 0 || isNull(document.Content[0]) {
		r.whole(&Error{Line: 1, Problem: "is empty", Remedy: "write at least the required keys"})
		return
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		r.at(&more, "", "holds a second document", "keep one document in the file")
		return
	} else if !errors.Is(err, io.EOF) {
		r.whole(r.syntax(err))
		return
	}
	root := document.Content[0]
	r.lines[""] = root.Line
	r.value(root, "", reflect.ValueOf(into).Elem())
}

// whole reports a problem with the file itself.
func (r *reader) whole(e *Error) {
	e.File = r.file
	r.unread = append(r.unread, "")
	r.problems = append(r.problems, e)
}

func (r *reader) syntax(err error) *Error {
	e := &Error{Problem: "is not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), Remedy: "mind indentation, colons and quotes"}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.Problem = "is not valid YAML: " + m[2]
		e.Line, _ = strconv.Atoi(m[1]) // digits by the expression; too many give 0, no line
	}
	return e
}

// value reads node n, which stands at path, into v.
func (r *reader) value(n *yaml.Node, path string, v reflect.Value) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.at(n, path, "uses an anchor or alias", "write the value out")
	case isNull(n):
		r.at(n, path, "has no value", "give it a value, or remove the key")
	case isScalar(v):
		r.scalar(n, path, v)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.value(n, path, v.Elem())
	case v.Kind() == reflect.Struct:
		r.mapping(n, path, v)
	case v.Kind() == reflect.Map:
		r.dictionary(n, path, v)
	case v.Kind() == reflect.Slice:
		r.list(n, path, v)
	default:
		panic(fmt.Sprintf("config: field %s has type %s, which the reader does not know", path, v.Type()))
	}
}

// mapping reads the keys of a struct.
func (r *reader) mapping(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.at(n, path, "is "+describe(n)+", not keys with values", "write it as indented `key: value` lines")
		return
	}
	if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
		d.Default()
	}
	fields := fieldsOf(v.Type())
	r.pairs(n, path, func(key, value *yaml.Node, at string) {
		f, ok := fields[key.Value]
		if !ok {
			names := make([]string, 0, len(fields))
			for name := range fields {
				names = append(names, name)
			}
			r.at(key, at, "unknown key", Hint(key.Value, names))
			return
		}
		r.value(value, at, v.Field(f.index))
	})
}

// dictionary reads a map whose keys are names that the user gives. What an entry leaves out stays as the
// map's default has it.
func (r *reader) dictionary(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.at(n, path, "is "+describe(n)+", not names with values", "write it as indented `name: …` lines")
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	r.pairs(n, path, func(key, value *yaml.Node, at string) {
		name, element := reflect.ValueOf(key.Value).Convert(v.Type().Key()), reflect.New(v.Type().Elem()).Elem()
		if usual := v.MapIndex(name); usual.IsValid() {
			element.Set(usual)
		}
		r.value(value, at, element)
		v.SetMapIndex(name, element)
	})
}

// pairs goes through the keys of a mapping, each of which may stand there once.
func (r *reader) pairs(n *yaml.Node, path string, each func(key, value *yaml.Node, at string)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge":
			r.at(key, path, "has a key that is no plain name", "write every key out as a name")
		case first[key.Value] > 0:
			r.at(key, at, fmt.Sprintf("is given twice, first in line %d", first[key.Value]), "remove one of them")
		default:
			first[key.Value] = key.Line
			r.lines[at] = key.Line
			each(key, value, at)
		}
	}
}

func (r *reader) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.at(n, path, "is "+describe(n)+", not a list", "write it as `- …` lines or in [ ]")
		return
	}
	elements := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, child := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.lines[at] = child.Line
		r.value(child, at, elements.Index(i))
	}
	v.Set(elements)
}

type field struct {
	index    int
	required bool
}

// fieldsOf maps the keys of a struct to its fields.
func fieldsOf(t reflect.Type) map[string]field {
	fields := make(map[string]field, t.NumField())
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("key")
		if !ok {
			continue
		}
		name, rule, _ := strings.Cut(tag, ",")
		fields[name] = field{index: i, required: rule == "required"}
	}
	return fields
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parent cuts the last step off a path.
func parent(path string) string {
	if i := strings.LastIndexAny(path, ".["); i > 0 {
		return path[:i]
	}
	return ""
}
