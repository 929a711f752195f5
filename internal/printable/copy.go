package printable

import "reflect"

// Of gives a copy of a value in which every text is as Text gives it, however deep it lies: in a structure that has
// a new field tomorrow, too. Fields that are not exported stay as they are. Maps and slices are not shared.
func Of[T any](value T) T {
	clean(reflect.ValueOf(&value).Elem())
	return value
}

// clean copies maps and slices first, for they belong to others.
func clean(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); v.CanSet() {
			v.SetString(Text(text))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				clean(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		fresh := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(fresh, v)
		for i := range fresh.Len() {
			clean(fresh.Index(i))
		}
		v.Set(fresh)
	case reflect.Map:
		if v.IsNil() {
			return
		}
		fresh := reflect.MakeMapWithSize(v.Type(), v.Len())
		for key, value := range v.Seq2() {
			fresh.SetMapIndex(cleaned(key), cleaned(value))
		}
		v.Set(fresh)
	case reflect.Pointer:
		if !v.IsNil() {
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(cleaned(v.Elem()))
			v.Set(fresh)
		}
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(cleaned(v.Elem()))
		}
	}
}

// cleaned is a clean copy of a value.
func cleaned(v reflect.Value) reflect.Value {
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	clean(fresh)
	return fresh
}
