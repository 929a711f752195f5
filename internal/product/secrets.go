package product

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// strangeSecrets finds places where servers of a role read a secret that they are not given: Puppet would end there,
// on a server. It follows Puppet's code from site.pp through the class of each role, and tells only what is certain:
// what stands behind a condition, other than one on the stage, is left to the servers.
func (p *Product) strangeSecrets(all []entry) (problems []*config.Error, err error) {
	code, err := p.puppetCode(all)
	if err != nil {
		return nil, err
	}
	for _, name := range code.names() {
		for _, r := range code.files[name].reads {
			var lacking []string
			for _, role := range sortedNames(p.Roles) {
				if !code.given[r.secret] && !p.gives(r.secret, role) && code.reaches(role, name) {
					lacking = append(lacking, role)
				}
			}
			if len(lacking) > 0 {
				problems = append(problems, p.strange(name, r, lacking))
			}
		}
	}
	return problems, nil
}

// gives reports whether servers of a role get a secret.
func (p *Product) gives(secret, role string) bool {
	if secret == ReservedSecret {
		return p.Roles[role].Bastion
	}
	return slices.ContainsFunc(p.Secrets, func(s Secret) bool { return s.Name == secret && s.For(role) })
}

func (p *Product) strange(file string, r read, roles []string) *config.Error {
	who := "role " + roles[0]
	if len(roles) > 1 {
		who = "roles " + strings.Join(roles, ", ")
	}
	e := &config.Error{File: file, Line: r.line, Key: "secret::" + r.secret}
	i := slices.IndexFunc(p.Secrets, func(s Secret) bool { return s.Name == r.secret })
	switch {
	case r.secret == ReservedSecret:
		e.Problem = fmt.Sprintf("servers of %s read it, and only the bastion has it", who)
		e.Remedy = "read it in a class that only the bastion includes"
	case i < 0:
		e.Problem = fmt.Sprintf("servers of %s read it, and no secret has this name", who)
		e.Remedy = fmt.Sprintf("add {name: %s, roles: [%s]} to secrets in %s", r.secret, strings.Join(roles, ", "), File)
	default:
		e.Problem = fmt.Sprintf("servers of %s read it, and it is given to %s only", who, strings.Join(p.Secrets[i].Roles, ", "))
		e.Remedy = fmt.Sprintf("add %s to secrets[%d].roles in %s, or read it in a class that only its roles include", strings.Join(roles, ", "), i, File)
	}
	return e
}

// puppetCode is what is known of Puppet's code without running it.
type puppetCode struct {
	files map[string]codeFile
	homes map[string]string // class, defined type or function → the file that defines it
	given map[string]bool   // secrets that lie in data
	split bool              // each server includes the class role::<its role>
}

type codeFile struct {
	uses  []string // names of classes, types and functions, and files of templates
	reads []read
}

// read is a place where a secret is looked up that has to be there.
type read struct {
	secret string
	line   int
}

func (c *puppetCode) names() []string { return sortedNames(c.files) }

// reaches reports whether servers of a role apply a file for certain.
func (c *puppetCode) reaches(role, file string) bool {
	seen := map[string]bool{}
	next := []string{siteManifest}
	if c.split {
		next = append(next, c.homes["role::"+role])
	}
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		if at == file {
			return true
		}
		for _, name := range c.files[at].uses {
			home := c.homes[name]
			if home == "" {
				home = name // a template
			}
			if _, there := c.files[home]; there && !seen[home] {
				seen[home] = true
				next = append(next, home)
			}
		}
	}
	return false
}

var (
	defines   = regexp.MustCompile(`(?m)^\s*(?:class|define|function)\s+(?:::)?([a-z]\w*(?:::\w+)*)`)
	included  = regexp.MustCompile(`\b(?:include|contain|require)\b[\s(\[]*(['"]?(?:::)?[a-z]\w*(?:::\w+)*['"]?(?:\s*,\s*['"]?(?:::)?[a-z]\w*(?:::\w+)*['"]?)*)`)
	declared  = regexp.MustCompile(`\bclass\s*\{\s*\[?\s*['"](?:::)?([a-z]\w*(?:::\w+)*)['"]`)
	inherited = regexp.MustCompile(`\binherits\s+(?:::)?([a-z]\w*(?:::\w+)*)`)
	called    = regexp.MustCompile(`(?:::)?([a-z]\w*(?:::\w+)*)\s*[({]`)
	templated = regexp.MustCompile(`\b(?:epp|template)\(\s*['"](\w+)/([\w./-]+)['"]`)
	className = regexp.MustCompile(`[a-z]\w*(?:::\w+)*`)
	lookedUp  = regexp.MustCompile(`\b(?:lookup|hiera)\(\s*['"](?:::)?secret::(\w+)['"]\s*(?:,\s*[A-Z][\w\[\]:, ]*)?\)(\s*\|)?`)
)

// puppetCode reads manifests, functions and templates under puppet/.
func (p *Product) puppetCode(all []entry) (*puppetCode, error) {
	c := &puppetCode{files: map[string]codeFile{}, homes: map[string]string{}, given: map[string]bool{}}
	linked := p.linkedModules(all)
	for _, e := range all {
		applied := e.info.Mode().IsRegular() && (e.under(puppetDir) || slices.ContainsFunc(linked, e.under)) &&
			!slices.ContainsFunc(e.parts(), func(part string) bool { return slices.Contains(notApplied, part) })
		if !applied {
			continue
		}
		switch e.ext() {
		case ".pp", ".epp", ".erb":
		case ".yaml", ".yml", ".eyaml", ".json":
			if err := p.givenByData(e, c.given); err != nil {
				return nil, err
			}
			continue
		default:
			continue
		}
		data, err := p.read(e)
		if err != nil {
			return nil, err
		}
		if e.ext() == ".pp" {
			c.manifest(e.name, string(data))
		} else {
			code, _ := certain(tagged(string(data)))
			c.files[e.name] = codeFile{reads: readsIn(code)}
		}
	}
	site, err := p.Text(siteManifest)
	if err == nil {
		c.split = byRole.Match(site)
	}
	return c, nil //nolint:nilerr // a site.pp that is missing is told elsewhere
}

// manifest notes what a file defines and uses.
func (c *puppetCode) manifest(name, text string) {
	text, words := certain(text)
	defined := defines.FindAllStringSubmatch(text, -1)
	for _, m := range defined {
		c.homes[m[1]] = name
	}
	var f codeFile
	if single := len(defined) <= 1; single && name != siteManifest || len(defined) == 0 { // else it may be another's
		f.reads = readsIn(text)
	}
	for _, way := range []*regexp.Regexp{included, declared, inherited, called} {
		for _, at := range way.FindAllStringSubmatchIndex(text, -1) {
			if text[at[0]] == words[at[0]] { // else it is in a string
				f.uses = append(f.uses, className.FindAllString(text[at[2]:at[3]], -1)...)
			}
		}
	}
	for _, m := range templated.FindAllStringSubmatch(text, -1) {
		f.uses = append(f.uses, path.Join(modulesDir, m[1], "templates", m[2]))
	}
	c.files[name] = f
}

func readsIn(text string) (all []read) {
	for _, at := range lookedUp.FindAllStringSubmatchIndex(text, -1) {
		if at[4] < 0 { // no block that gives a default
			all = append(all, read{text[at[2]:at[3]], 1 + strings.Count(text[:at[0]], "\n")})
		}
	}
	return all
}

// givenByData notes the secrets that data for Hiera holds: the product's own, the same everywhere.
func (p *Product) givenByData(e entry, given map[string]bool) error {
	if !hieraData(e.name) {
		return nil
	}
	data, err := p.read(e)
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte("secret::")) {
		return nil
	}
	var keys map[string]yaml.Node
	if yaml.Unmarshal(data, &keys) != nil {
		return nil // told by the check of its syntax
	}
	for key := range keys {
		if name, ok := strings.CutPrefix(key, "secret::"); ok {
			given[name] = true
		}
	}
	return nil
}

// tagged blanks the text of a template and leaves its code.
func tagged(text string) string {
	out := []byte(blank(text))
	for at := 0; ; {
		begin := strings.Index(text[at:], "<%")
		if begin < 0 {
			return string(out)
		}
		begin += at + len("<%")
		end := strings.Index(text[begin:], "%>")
		if end < 0 {
			end = len(text) - begin
		}
		if !strings.HasPrefix(text[begin:], "#") && !strings.HasPrefix(text[begin:], "%") {
			copy(out[begin:], text[begin:begin+end])
		}
		at = begin + end
	}
}

// blank gives as many bytes and lines, all of them empty.
func blank(text string) string {
	out := bytes.Repeat([]byte(" "), len(text))
	for i := range len(text) {
		if text[i] == '\n' {
			out[i] = '\n'
		}
	}
	return string(out)
}

var (
	conditional = regexp.MustCompile(`\b(if|elsif|unless|case|else)\b|\?\s*\{|\bnode\b`)
	byStage     = regexp.MustCompile(`\$(?:::)?(?:facts\[['"]hallmark_stage['"]\]|\{?(?:::)?hallmark_stage\}?)`)
	someValue   = regexp.MustCompile(`\$|\(\s*[^\s)]`) // a variable, or the argument of a call
)

// certain blanks comments of Puppet's language, and the blocks that only some servers may come to: those behind a
// condition on anything but the stage. In words what is in strings is blank, too.
func certain(text string) (rest, words string) {
	code := []byte(text)
	wipe := func(from, to int) { copy(code[from:to], blank(text[from:to])) }
	shadow := []byte(text) // strings are blank here, too, so that braces and words are code
	var quote byte
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case quote != 0 && ch == '\\':
			shadow[i] = ' '
			if i++; i < len(text) && text[i] != '\n' {
				shadow[i] = ' '
			}
		case quote != 0:
			if ch == quote {
				quote = 0
			} else if ch != '\n' {
				shadow[i] = ' '
			}
		case ch == '\'' || ch == '"':
			quote = ch
		case ch == '#':
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				end = len(text) - i
			}
			wipe(i, i+end)
			copy(shadow[i:i+end], blank(text[i:i+end]))
			i += end - 1
		}
	}
	known := true // whether every server gets past the conditions of the chain that is being read
	for at := 0; ; {
		m := conditional.FindSubmatchIndex(shadow[at:])
		if m == nil {
			return string(code), string(shadow)
		}
		begin, word := at+m[0], ""
		if m[2] >= 0 {
			word = string(shadow[at+m[2] : at+m[3]])
		}
		open := at + m[1]
		if brace := bytes.IndexByte(shadow[begin:], '{'); brace >= 0 {
			open = begin + brace
		}
		condition := byStage.ReplaceAllString(string(code[begin:max(begin, open)]), "")
		if word != "else" && word != "elsif" {
			known = true
		}
		known = known && (word == "if" || word == "elsif" || word == "else" || word == "unless") && !someValue.MatchString(condition)
		if !known {
			wipe(open, closing(shadow, open))
			copy(shadow[open:closing(shadow, open)], blank(text[open:closing(shadow, open)]))
		}
		at = max(open, at+m[1])
	}
}

// closing is where the block that opens at a brace ends.
func closing(code []byte, open int) int {
	depth := 0
	for i := open; i < len(code); i++ {
		switch code[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(code)
}
