// Package query is the wire form of the AWS Query protocol as EC2 speaks it: flattened form
// parameters in, XML out. It knows nothing of what the parameters mean. It is strict: a parameter
// that the receiving struct has no field for is an error that names it, so that an endpoint never
// silently ignores what a caller asked for.
package query

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longest bounds a list, so that "Filter.999999999.Name" does not allocate.
const longest = 1000

// Decode fills the struct that into points to. A parameter's name is the path of field names to its
// place, with the 1-based index of a list's element as a part of its own, such as
// TagSpecification.1.Tag.2.Key. A field is named as Go has it: ImageID takes the parameter ImageId.
// Fields are strings, integers, booleans, times, byte slices (base64),
// structs, pointers to these, and slices of these. A field tagged `query:"required"` must be given.
// Action and Version are the dispatcher's. Errors are *Error.
func Decode(form url.Values, into any) error {
	dst := reflect.ValueOf(into).Elem()
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	slices.Sort(names) // the same request always fails at the same parameter
	for _, name := range names {
		if name == "Action" || name == "Version" {
			continue
		}
		if err := set(dst, strings.Split(name, "."), form.Get(name), name); err != nil {
			return err
		}
	}
	return present(dst, "")
}

// Members gives a form in which lists are member.N, as all services but EC2 have them, in EC2's words. A
// list in EC2's words is unknown to them.
func Members(form url.Values) (url.Values, error) {
	plain := url.Values{}
	for name, values := range form {
		var path []string
		parts := strings.Split(name, ".")
		for i, part := range parts {
			_, err := strconv.Atoi(part)
			isIndex, follows := err == nil, i > 0 && parts[i-1] == "member"
			if isIndex != follows || part == "member" && i == len(parts)-1 {
				return nil, unknown(name)
			}
			if part != "member" {
				path = append(path, part)
			}
		}
		plain[strings.Join(path, ".")] = values
	}
	return plain, nil
}

// initialisms are spelt one way by Go and another by the API.
var initialisms = strings.NewReplacer("HTTP", "Http", "API", "Api", "ID", "Id", "IP", "Ip")

func wire(field string) string { return initialisms.Replace(field) }

func set(dst reflect.Value, path []string, value, name string) error {
	if dst.Kind() == reflect.Pointer {
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		dst = dst.Elem()
	}
	switch {
	case dst.Type() == reflect.TypeFor[time.Time](), dst.Type() == reflect.TypeFor[[]byte]():
	case dst.Kind() == reflect.Struct:
		if len(path) == 0 {
			return unknown(name)
		}
		field := dst.FieldByNameFunc(func(name string) bool { return wire(name) == path[0] })
		if !field.IsValid() || !field.CanSet() {
			return unknown(name)
		}
		return set(field, path[1:], value, name)
	case dst.Kind() == reflect.Slice:
		if len(path) == 0 && value == "" { // the SDK's spelling of an empty list
			dst.Set(reflect.MakeSlice(dst.Type(), 0, 0))
			return nil
		}
		if len(path) == 0 {
			return unknown(name)
		}
		n, err := strconv.Atoi(path[0])
		if err != nil {
			return unknown(name)
		}
		if n < 1 || n > longest {
			return Errorf("InvalidParameterValue", "The index of parameter %s is out of range", name)
		}
		for dst.Len() < n {
			dst.Set(reflect.Append(dst, reflect.Zero(dst.Type().Elem())))
		}
		return set(dst.Index(n-1), path[1:], value, name)
	}
	if len(path) != 0 {
		return unknown(name)
	}
	return scalar(dst, value, name)
}

func scalar(dst reflect.Value, value, name string) error {
	invalid := func() error {
		return Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid", value, name)
	}
	switch dst.Interface().(type) {
	case time.Time:
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return invalid()
		}
		dst.Set(reflect.ValueOf(at))
		return nil
	case []byte:
		decoded, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return Errorf("InvalidParameterValue", "Invalid BASE64 encoding of parameter %s", name)
		}
		dst.SetBytes(decoded)
		return nil
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(value)
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return invalid()
		}
		dst.SetInt(int64(n))
	case reflect.Bool:
		if value != "true" && value != "false" {
			return invalid()
		}
		dst.SetBool(value == "true")
	default:
		panic(fmt.Sprintf("query: a field of type %s cannot take %s", dst.Type(), name))
	}
	return nil
}

// present looks for required fields that were not given, in every element that was begun.
func present(v reflect.Value, path string) error {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return present(v.Elem(), path)
	case v.Kind() == reflect.Slice && v.Type() != reflect.TypeFor[[]byte]():
		for i := range v.Len() {
			if err := present(v.Index(i), path+"."+strconv.Itoa(i+1)); err != nil {
				return err
			}
		}
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			field, at := v.Type().Field(i), path
			if !field.Anonymous {
				at = path + "." + wire(field.Name)
			}
			if field.Tag.Get("query") == "required" && v.Field(i).IsZero() {
				return Errorf("MissingParameter", "The request must contain the parameter %s", at[1:])
			}
			if err := present(v.Field(i), at); err != nil {
				return err
			}
		}
	}
	return nil
}

func unknown(name string) error {
	return Errorf("UnknownParameter", "The parameter %s is not recognized", name)
}
