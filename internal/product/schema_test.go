package product

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// schema is as much of a JSON Schema as says which keys there are.
type schema struct {
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Closed     any               `json:"additionalProperties"` // false, or the schema of a map's values
}

// The schema that editors use must name the keys that Load takes, and no others.
func TestSchemaNamesTheSameKeys(t *testing.T) {
	data, err := os.ReadFile("../../configs/hallmark.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	sameKeys(t, "", s, reflect.TypeFor[file]())
}

func sameKeys(t *testing.T, path string, s schema, typ reflect.Type) {
	t.Helper()
	switch typ.Kind() {
	case reflect.Pointer:
		sameKeys(t, path, s, typ.Elem())
		return
	case reflect.Slice:
		if s.Items == nil {
			t.Errorf("%s: the schema knows no list", path)
			return
		}
		sameKeys(t, path+"[]", *s.Items, typ.Elem())
		return
	case reflect.Map:
		var values schema
		again, err := json.Marshal(s.Closed)
		if err == nil {
			err = json.Unmarshal(again, &values)
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		sameKeys(t, path+".*", values, typ.Elem())
		return
	case reflect.Struct:
	default:
		return
	}
	if s.Closed != false {
		t.Errorf("%s: the schema allows unknown keys", path)
	}
	keys := map[string]bool{}
	for i := range typ.NumField() {
		tag := typ.Field(i).Tag.Get("key")
		if tag == "" {
			continue
		}
		key, rule, _ := strings.Cut(tag, ",")
		keys[key] = true
		under, ok := s.Properties[key]
		if !ok {
			t.Errorf("%s.%s is not in the schema", path, key)
			continue
		}
		if got, want := slices.Contains(s.Required, key), rule == "required"; got != want {
			t.Errorf("%s.%s: required is %v in the schema, %v in the code", path, key, got, want)
		}
		sameKeys(t, path+"."+key, under, typ.Field(i).Type)
	}
	for key := range s.Properties {
		if !keys[key] {
			t.Errorf("%s.%s is in the schema only", path, key)
		}
	}
}
