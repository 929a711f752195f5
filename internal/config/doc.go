// Package config reads configuration strictly. It owns the YAML reader that every file of Hallmark
// and of the product goes through (unknown keys, repeated keys and wrong types are errors that name
// file, line, key and remedy), and the daemon's own configuration with its defaults. It imports
// nothing of Hallmark.
//
// A file is read into structs whose fields carry a tag `key:"name"` or `key:"name,required"`;
// fields without one are not the file's. A struct that has Default gets its defaults before its
// keys are read; one that has Check is asked afterwards whether its values make sense.
package config
