package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// FileVariable is the environment variable that names the configuration file when no flag does.
const FileVariable = "HALLMARK_CONFIG"

const variablePrefix = "HALLMARK"

// Load reads the configuration: flags over HALLMARK_* variables over the file over the defaults.
// Every single value can be given by a flag or variable: limits.image-builds is --limits-image-builds
// (if flags has it) and HALLMARK_LIMITS_IMAGE_BUILDS; lists and policies only by the file. An empty
// file means HALLMARK_CONFIG, and without that no file at all. Errors are Errors.
//
// Relative paths in the file are relative to the file; in flags and variables, to the working directory.
func Load(file string, flags *pflag.FlagSet) (Config, error) {
	if file == "" {
		file = os.Getenv(FileVariable)
	}
	var c Config
	r := newReader("configuration")
	if file != "" {
		r.file = file
		data, err := os.ReadFile(file)
		if err != nil {
			return Config{}, unreadable(file, err)
		}
		r.read(data, &c)
		if err := c.absolute(filepath.Dir(file)); err != nil {
			return Config{}, err
		}
	} else {
		c.Default()
		r.missing = "give a file by --config or " + FileVariable
	}
	c.File = file
	r.override(&c, flags)
	if err := c.absolute("."); err != nil {
		return Config{}, err
	}
	r.check(&c)
	if err := Join(r.problems); err != nil {
		return Config{}, err
	}
	return c, nil
}

// override lays flags and variables over single values. The file's nodes were checked before, since
// viper knows neither lines nor case.
func (r *reader) override(c *Config, flags *pflag.FlagSet) {
	v := viper.New()
	v.SetEnvPrefix(variablePrefix)
	replacer := strings.NewReplacer("-", "_", ".", "_")
	v.SetEnvKeyReplacer(replacer)
	variables := []string{FileVariable}
	singles("", reflect.ValueOf(c).Elem(), func(key string, value reflect.Value) {
		variable := variablePrefix + "_" + strings.ToUpper(replacer.Replace(key))
		variables = append(variables, variable)
		source := "environment variable " + variable
		_ = v.BindEnv(key) // fails only without a key
		if flags != nil {
			if f := flags.Lookup(strings.ReplaceAll(key, ".", "-")); f != nil {
				_ = v.BindPFlag(key, f) // fails only without a flag
				if f.Changed {
					source = "flag --" + f.Name
				}
			}
		}
		if !v.IsSet(key) {
			return
		}
		r.given[key] = source
		r.problems = slices.DeleteFunc(r.problems, func(p *Error) bool { return p.Key == key })
		r.unread = slices.DeleteFunc(r.unread, func(path string) bool { return path == key })
		if problem, remedy := parse(v.GetString(key), value); problem != "" {
			r.report(key, problem, remedy)
			r.unread = append(r.unread, key)
		}
	})
	r.misspelt(variables)
}

// misspelt reports HALLMARK_ variables that are none of ours but nearly are. Others may have some
// of their own.
func (r *reader) misspelt(known []string) {
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, variablePrefix+"_") || slices.Contains(known, name) {
			continue
		}
		for _, k := range known {
			if editDistance(name, k) <= 2 {
				r.problems = append(r.problems, &Error{File: "environment variable " + name, Problem: "is not known", Remedy: "did you mean " + k + "?"})
				break
			}
		}
	}
}

// singles visits every single value under v with its key.
func singles(path string, v reflect.Value, visit func(key string, value reflect.Value)) {
	for i := range v.NumField() {
		tag, ok := v.Type().Field(i).Tag.Lookup("key")
		if !ok {
			continue
		}
		key, _, _ := strings.Cut(tag, ",")
		switch f := v.Field(i); {
		case isScalar(f):
			visit(join(path, key), f)
		case f.Kind() == reflect.Struct:
			singles(join(path, key), f, visit)
		}
	}
}

// absolute makes the paths of c absolute, relative ones from dir.
func (c *Config) absolute(dir string) error {
	c.Product.Repository = strings.TrimPrefix(c.Product.Repository, "file://")
	paths := []*string{&c.StateDir, &c.Provider.Faults, &c.Product.SSHKey, &c.Product.SSHAgent, &c.Product.KnownHosts, &c.Product.Credentials}
	if !c.Product.Remote() {
		paths = append(paths, &c.Product.Repository)
	}
	for _, p := range paths {
		if *p == "" {
			continue
		}
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// LedgerFile is the ledger's database.
func (c Config) LedgerFile() string { return filepath.Join(c.StateDir, "ledger.db") }

// WorkflowFile is the durable workflows' database.
func (c Config) WorkflowFile() string { return filepath.Join(c.StateDir, "workflows.db") }

// LockFile is locked by the one process that works on runs.
func (c Config) LockFile() string { return filepath.Join(c.StateDir, "hallmark.lock") }

// PublishFile is locked by the one process that publishes images at a time.
func (c Config) PublishFile() string { return filepath.Join(c.StateDir, "publish.lock") }

// CopyFile is locked while copies of images are made for a channel.
func (c Config) CopyFile() string { return filepath.Join(c.StateDir, "copy.lock") }

// MirrorDir is the mirror of the infrastructure repository.
func (c Config) MirrorDir() string { return filepath.Join(c.StateDir, "repository.git") }

// ProductsDir holds checkouts and archives of the product, by commit.
func (c Config) ProductsDir() string { return filepath.Join(c.StateDir, "products") }

// RecordsDir holds what belongs to one run and is too large for the ledger.
func (c Config) RecordsDir(run string) string { return filepath.Join(c.StateDir, "runs", run) }
