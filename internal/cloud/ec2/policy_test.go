package ec2_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// free are actions that need no right.
var free = []string{"sts:GetCallerIdentity"}

// implied are actions that AWS asks for beside those that are called, and why.
var implied = map[string]string{
	"ec2:CreateTags":                      "tags at creation",
	"ssm:AddTagsToResource":               "tags at creation",
	"kms:CreateGrant":                     "encrypted volumes",
	"kms:Decrypt":                         "encrypted volumes",
	"kms:DescribeKey":                     "encrypted volumes",
	"kms:GenerateDataKeyWithoutPlaintext": "encrypted volumes",
	"kms:ReEncryptFrom":                   "copies under another key",
	"kms:ReEncryptTo":                     "copies under another key",
	"iam:CreateServiceLinkedRole":         "the first spot instance of an account",
}

// called are the actions of this package's code: every request is built from the SDK's type of its name.
func called(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	must(t, err)
	actions := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		must(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if kind, ok := literal.Type.(*ast.SelectorExpr); ok {
				service, ok := kind.X.(*ast.Ident)
				action, request := strings.CutSuffix(kind.Sel.Name, "Input")
				if ok && request {
					actions[service.Name+":"+action] = true
				}
			}
			return true
		})
	}
	for _, action := range free {
		delete(actions, action)
	}
	return slices.Sorted(maps.Keys(actions))
}

type statement struct {
	Sid       string
	Effect    string
	Action    words
	Resource  words
	Condition map[string]map[string]words
}

// words are one or several.
type words []string

func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(w))
}

// document is the policy of docs/ec2.md.
func document() (string, error) {
	page, err := os.ReadFile("../../../docs/ec2.md")
	if err != nil {
		return "", err
	}
	_, text, ok := strings.Cut(string(page), "```json\n")
	text, _, closed := strings.Cut(text, "```")
	if !ok || !closed {
		return "", errors.New("docs/ec2.md has no policy")
	}
	return text, nil
}

// policy reads it, without its meaning.
func policy() ([]statement, error) {
	text, err := document()
	if err != nil {
		return nil, err
	}
	var p struct {
		Version   string
		Statement []statement
	}
	err = json.Unmarshal([]byte(text), &p)
	return p.Statement, err
}

func TestPolicyIsWhatTheCodeCalls(t *testing.T) {
	want := slices.Sorted(slices.Values(slices.Concat(called(t), slices.Collect(maps.Keys(implied)))))
	allowed := map[string]bool{}
	statements, err := policy()
	must(t, err)
	for _, s := range statements {
		for _, action := range s.Action {
			allowed[action] = true
		}
		if s.Effect != "Allow" || slices.ContainsFunc(s.Action, func(a string) bool { return strings.Contains(a, "*") }) {
			t.Errorf("statement %s: %s %v", s.Sid, s.Effect, s.Action)
		}
	}
	got := slices.Sorted(maps.Keys(allowed))
	for _, action := range want {
		if !allowed[action] {
			t.Errorf("the code calls %s and the policy does not allow it", action)
		}
	}
	for _, action := range got {
		if !slices.Contains(want, action) {
			t.Errorf("the policy allows %s and nothing calls it", action)
		}
	}
	if len(want) < 45 {
		t.Errorf("only %d actions were found in the code", len(want))
	}
}

// What changes something is bound to our tags, or to resources that are named.
func TestPolicyIsBound(t *testing.T) {
	statements, err := policy()
	must(t, err)
	for _, s := range statements {
		if s.Sid == "Look" {
			for _, action := range s.Action {
				if !strings.Contains(action, ":Describe") {
					t.Errorf("%s is not only looking", action)
				}
			}
			continue
		}
		tagged := false
		for _, conditions := range s.Condition {
			for key := range conditions {
				tagged = tagged || strings.HasSuffix(key, "Tag/hallmark:owner")
			}
		}
		if !tagged && slices.Contains(s.Resource, "*") {
			t.Errorf("statement %s allows %v on everything", s.Sid, s.Action)
		}
	}
}
