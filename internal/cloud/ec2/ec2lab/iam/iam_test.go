package iam_test

import (
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/iam"
)

var keys = []string{"aws:RequestTag/", "aws:ResourceTag/", "ec2:CreateAction", "ec2:Subnet", "aws:SecureTransport", "aws:TagKeys"}

// document is a policy of some statements.
func document(statements string) string {
	return `{"Version": "2012-10-17", "Statement": ` + statements + `}`
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const rest = `"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*"`
	for name, c := range map[string]struct{ text, says string }{
		"nothing":             {"", "EOF"},
		"no object":           {`[]`, "cannot unmarshal"},
		"more after it":       {document(`{`+rest+`}`) + "{}", "after its end"},
		"no version":          {`{"Statement": {` + rest + `}}`, `version ""`},
		"the old version":     {`{"Version": "2008-10-17", "Statement": {` + rest + `}}`, "2008-10-17"},
		"no statements":       {document(`[]`), "no statements"},
		"another element":     {document(`{"Colour": "red", ` + rest + `}`), "Colour"},
		"NotAction":           {document(`{"Effect": "Allow", "NotAction": "ec2:*", "Resource": "*"}`), "NotAction"},
		"a principal":         {document(`{"Principal": "*", ` + rest + `}`), "Principal"},
		"another case":        {document(`{"effect": "Allow", "Action": "ec2:A", "Resource": "*"}`), `"effect"`},
		"an element twice":    {document(`{"Effect": "Deny", ` + rest + `}`), "Effect is there twice"},
		"a Sid twice":         {document(`[{"Sid": "A", ` + rest + `}, {"Sid": "A", ` + rest + `}]`), "statement 2: the Sid A is used twice"},
		"a Sid with a hyphen": {document(`{"Sid": "a-b", ` + rest + `}`), "a-b"},
		"no effect":           {document(`{"Action": "ec2:A", "Resource": "*"}`), "Effect"},
		"no action":           {document(`{"Effect": "Allow", "Resource": "*"}`), "no Action"},
		"an empty list":       {document(`{"Effect": "Allow", "Action": [], "Resource": "*"}`), "Action"},
		"a number":            {document(`{"Effect": "Allow", "Action": 7, "Resource": "*"}`), "Action"},
		"no service":          {document(`{"Effect": "Allow", "Action": "StopInstances", "Resource": "*"}`), "service:Action"},
		"no resource":         {document(`{"Effect": "Allow", "Action": "ec2:A"}`), "no Resource"},
		"no ARN":              {document(`{"Effect": "Allow", "Action": "ec2:A", "Resource": "i-1"}`), "i-1"},
		"a variable":          {document(`{"Effect": "Allow", "Action": "ec2:A", "Resource": "arn:aws:ec2:*:*:volume/${aws:username}"}`), "variable"},
		"another operator":    {document(`{` + rest + `, "Condition": {"StringMatches": {"ec2:CreateAction": "a"}}}`), "StringMatches"},
		"a set operator":      {document(`{` + rest + `, "Condition": {"ForSomeValues:StringEquals": {"ec2:CreateAction": "a"}}}`), "ForSomeValues"},
		"a set of null":       {document(`{` + rest + `, "Condition": {"ForAnyValue:Null": {"ec2:CreateAction": "true"}}}`), "ForAnyValue:Null"},
		"NullIfExists":        {document(`{` + rest + `, "Condition": {"NullIfExists": {"ec2:CreateAction": "true"}}}`), "NullIfExists"},
		"another key":         {document(`{` + rest + `, "Condition": {"StringEquals": {"ec2:Color": "a"}}}`), "ec2:Color"},
		"a key without a tag": {document(`{` + rest + `, "Condition": {"StringEquals": {"aws:RequestTag/": "a"}}}`), "aws:RequestTag/"},
		"no key":              {document(`{` + rest + `, "Condition": {"StringEquals": {}}}`), "compares nothing"},
		"no value":            {document(`{` + rest + `, "Condition": {"StringEquals": {"ec2:CreateAction": []}}}`), "ec2:CreateAction"},
		"too deep":            {strings.Repeat("[", 100), "deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := iam.Parse([]byte(c.text), keys)
			if err == nil || !strings.Contains(err.Error(), c.says) || len(p.Statements) != 0 {
				t.Errorf("got %v, want an error that names %q", err, c.says)
			}
		})
	}
}

const (
	ours   = "arn:aws:ec2:eu-lab-1:123456789012:instance/i-1"
	subnet = "arn:aws:ec2:eu-lab-1:123456789012:subnet/subnet-1"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	tagged, tags := map[string][]string{"aws:ResourceTag/owner": {"main"}}, map[string][]string{"aws:TagKeys": {"a", "b"}}
	for name, c := range map[string]struct {
		statements string
		request    iam.Request
		want       string // allowed, denied or ""
	}{
		"the action and all resources":  {`{"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*"}`, iam.Request{"ec2:StopInstances", ours, nil}, "allowed"},
		"an action in another case":     {`{"Effect": "Allow", "Action": "ec2:stopinstances", "Resource": "*"}`, iam.Request{"ec2:StopInstances", ours, nil}, "allowed"},
		"another action":                {`{"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*"}`, iam.Request{"ec2:StartInstances", ours, nil}, ""},
		"an action of another service":  {`{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}`, iam.Request{"iam:CreateRole", "*", nil}, ""},
		"every action":                  {`{"Effect": "Allow", "Action": "*", "Resource": "*"}`, iam.Request{"iam:CreateRole", "*", nil}, "allowed"},
		"a pattern of actions":          {`{"Effect": "Allow", "Action": ["ssm:*", "ec2:St?p*"], "Resource": "*"}`, iam.Request{"ec2:StopInstances", ours, nil}, "allowed"},
		"a pattern of resources":        {`{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:123456789012:instance/*"}`, iam.Request{"ec2:A", ours, nil}, "allowed"},
		"another type":                  {`{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:123456789012:volume/*"}`, iam.Request{"ec2:A", ours, nil}, ""},
		"another account":               {`{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:210987654321:instance/*"}`, iam.Request{"ec2:A", ours, nil}, ""},
		"a star stays in its part":      {`{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:instance/*:"}`, iam.Request{"ec2:A", ours, nil}, ""},
		"a resource for an action of *": {`{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:instance/*"}`, iam.Request{"ec2:DescribeInstances", "*", nil}, ""},
		"one of two statements": {`[{"Effect": "Allow", "Action": "ec2:A", "Resource": "*"}, {"Effect": "Allow", "Action": "ec2:B", "Resource": "*"}]`,
			iam.Request{"ec2:B", ours, nil}, "allowed"},
		"a denial before": {`[{"Effect": "Deny", "Action": "ec2:A", "Resource": "*"}, {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]`,
			iam.Request{"ec2:A", ours, nil}, "denied"},
		"a denial after": {`[{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}, {"Effect": "Deny", "Action": "ec2:A", "Resource": "*"}]`,
			iam.Request{"ec2:A", ours, nil}, "denied"},
		"a denial of something else": {`[{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}, {"Effect": "Deny", "Action": "ec2:B", "Resource": "*"}]`,
			iam.Request{"ec2:A", ours, nil}, "allowed"},
		"a tag":                       {when(`"StringEquals": {"aws:ResourceTag/owner": "main"}`), iam.Request{"ec2:A", ours, tagged}, "allowed"},
		"a key in another case":       {when(`"StringEquals": {"AWS:resourcetag/Owner": "main"}`), iam.Request{"ec2:A", ours, tagged}, "allowed"},
		"a value in another case":     {when(`"StringEquals": {"aws:ResourceTag/owner": "Main"}`), iam.Request{"ec2:A", ours, tagged}, ""},
		"one of several values":       {when(`"StringEquals": {"aws:ResourceTag/owner": ["other", "main"]}`), iam.Request{"ec2:A", ours, tagged}, "allowed"},
		"a tag that is not there":     {when(`"StringEquals": {"aws:ResourceTag/owner": "main"}`), iam.Request{"ec2:A", ours, nil}, ""},
		"a pattern is no value":       {when(`"StringEquals": {"aws:ResourceTag/owner": "m*"}`), iam.Request{"ec2:A", ours, tagged}, ""},
		"a pattern":                   {when(`"StringLike": {"aws:ResourceTag/owner": "m*n"}`), iam.Request{"ec2:A", ours, tagged}, "allowed"},
		"a pattern without a key":     {when(`"StringLike": {"aws:ResourceTag/owner": "*"}`), iam.Request{"ec2:A", ours, nil}, ""},
		"not, and another":            {when(`"StringNotEquals": {"aws:ResourceTag/owner": "other"}`), iam.Request{"ec2:A", ours, tagged}, "allowed"},
		"not, and the same":           {when(`"StringNotEquals": {"aws:ResourceTag/owner": ["other", "main"]}`), iam.Request{"ec2:A", ours, tagged}, ""},
		"not, and no key":             {when(`"StringNotLike": {"aws:ResourceTag/owner": "*"}`), iam.Request{"ec2:A", ours, nil}, "allowed"},
		"if it exists, and does":      {when(`"StringEqualsIfExists": {"aws:ResourceTag/owner": "other"}`), iam.Request{"ec2:A", ours, tagged}, ""},
		"if it exists, and does not":  {when(`"StringEqualsIfExists": {"aws:ResourceTag/owner": "other"}`), iam.Request{"ec2:A", ours, nil}, "allowed"},
		"null, and it is":             {when(`"Null": {"aws:ResourceTag/owner": "true"}`), iam.Request{"ec2:A", ours, nil}, "allowed"},
		"null, and it is not":         {when(`"Null": {"aws:ResourceTag/owner": true}`), iam.Request{"ec2:A", ours, tagged}, ""},
		"not null":                    {when(`"Null": {"aws:ResourceTag/owner": "false"}`), iam.Request{"ec2:A", ours, tagged}, "allowed"},
		"a truth":                     {when(`"Bool": {"aws:SecureTransport": true}`), iam.Request{"ec2:A", ours, map[string][]string{"aws:SecureTransport": {"true"}}}, "allowed"},
		"an ARN":                      {when(`"ArnEquals": {"ec2:Subnet": "arn:aws:ec2:*:*:subnet/subnet-1"}`), iam.Request{"ec2:A", ours, map[string][]string{"ec2:Subnet": {subnet}}}, "allowed"},
		"another ARN":                 {when(`"ArnLike": {"ec2:Subnet": "arn:aws:ec2:*:*:subnet/subnet-2"}`), iam.Request{"ec2:A", ours, map[string][]string{"ec2:Subnet": {subnet}}}, ""},
		"an ARN that is none":         {when(`"ArnLike": {"ec2:Subnet": "*"}`), iam.Request{"ec2:A", ours, map[string][]string{"ec2:Subnet": {subnet}}}, ""},
		"all values":                  {when(`"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}`), iam.Request{"ec2:A", ours, tags}, "allowed"},
		"not all values":              {when(`"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "c"]}`), iam.Request{"ec2:A", ours, tags}, ""},
		"all of no values":            {when(`"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}`), iam.Request{"ec2:A", ours, nil}, "allowed"},
		"all are others":              {when(`"ForAllValues:StringNotLike": {"aws:TagKeys": ["c*"]}`), iam.Request{"ec2:A", ours, tags}, "allowed"},
		"any value":                   {when(`"ForAnyValue:StringEquals": {"aws:TagKeys": ["b", "c"]}`), iam.Request{"ec2:A", ours, tags}, "allowed"},
		"not any value":               {when(`"ForAnyValue:StringEquals": {"aws:TagKeys": ["c"]}`), iam.Request{"ec2:A", ours, tags}, ""},
		"any of no values":            {when(`"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["c"]}`), iam.Request{"ec2:A", ours, nil}, ""},
		"two keys, and one fits":      {when(`"StringEquals": {"aws:ResourceTag/owner": "main", "ec2:CreateAction": "A"}`), iam.Request{"ec2:A", ours, tagged}, ""},
		"two operators, and one fits": {when(`"StringEquals": {"aws:ResourceTag/owner": "main"}, "Null": {"aws:ResourceTag/owner": "true"}`), iam.Request{"ec2:A", ours, tagged}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := iam.Parse([]byte(document(c.statements)), keys)
			if err != nil {
				t.Fatal(err)
			}
			d := iam.Decide([]iam.Policy{p}, c.request)
			if d.Allowed != (c.want == "allowed") || d.Denied != (c.want == "denied") || (d.By != nil) != (c.want != "") {
				t.Errorf("%+v, want %q", d, c.want)
			}
		})
	}
	if iam.Decide(nil, iam.Request{Action: "ec2:A", Resource: "*"}).Allowed {
		t.Error("no policy allows something")
	}
}

// when is a statement with a condition.
func when(condition string) string {
	return `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {` + condition + `}}`
}

// What the parser takes can be evaluated, and allows nothing that it has no statement for.
func FuzzParse(f *testing.F) {
	f.Add([]byte(document(`{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}`)), "ec2:A", "*")
	f.Add([]byte(document(`[`+when(`"StringLike": {"aws:ResourceTag/owner": ["m*n", "?"]}, "Bool": {"aws:SecureTransport": false}`)+`]`)), "ec2:A", ours)
	f.Add([]byte(document(`{"Sid": "A", "Effect": "Deny", "Action": ["a:*?*", "*"], "Resource": ["arn:aws:ec2:*::image/*", "*"]}`)), "a:B", ours)
	f.Fuzz(func(t *testing.T, text []byte, action, resource string) {
		p, err := iam.Parse(text, keys)
		if err != nil {
			return
		}
		d := iam.Decide([]iam.Policy{p}, iam.Request{Action: action, Resource: resource, Keys: map[string][]string{"aws:ResourceTag/owner": {"main"}}})
		if d.Allowed && (d.Denied || d.By == nil || d.By.Deny) {
			t.Errorf("%+v", d)
		}
		for _, s := range p.Statements {
			if len(s.Actions) == 0 || len(s.Resources) == 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
