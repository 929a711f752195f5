package query_test

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type tag struct{ Key, Value string }

type embedded struct{ DryRun bool }

type request struct {
	embedded
	Embedded
	Name             string `query:"required"`
	Count            *int
	At               time.Time
	Data             []byte
	TagSpecification []struct {
		ResourceType string `query:"required"`
		Tag          []tag
	}
	Ebs     *struct{ Encrypted bool }
	ImageID []string
}

// Embedded is exported, as what shares parameters must be.
type Embedded struct{ Force bool }

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, form, code, says string
	}{
		{name: "everything", form: "Action=A&Version=1&Name=n&Count=3&At=2026-01-02T03:04:05Z&Data=aGk=&TagSpecification.1.ResourceType=x&TagSpecification.1.Tag.2.Key=k&Ebs.Encrypted=true&ImageId.1=a&Force=true"},
		{name: "empty list", form: "Name=n&ImageId="},
		{name: "unknown", form: "Name=n&Colour=red", code: "UnknownParameter", says: "Colour"},
		{name: "unknown below", form: "Name=n&TagSpecification.1.Colour=red", code: "UnknownParameter", says: "TagSpecification.1.Colour"},
		{name: "scalar with a path", form: "Name.1=n", code: "UnknownParameter", says: "Name.1"},
		{name: "list without an index", form: "Name=n&ImageId.x=1", code: "UnknownParameter", says: "ImageId.x"},
		{name: "list too long", form: "Name=n&ImageId.99999=1", code: "InvalidParameterValue", says: "ImageId.99999"},
		{name: "no number", form: "Name=n&Count=three", code: "InvalidParameterValue", says: "three"},
		{name: "no truth", form: "Name=n&Force=maybe", code: "InvalidParameterValue", says: "maybe"},
		{name: "no time", form: "Name=n&At=noon", code: "InvalidParameterValue", says: "noon"},
		{name: "no base64", form: "Name=n&Data=%25", code: "InvalidParameterValue", says: "Data"},
		{name: "missing", form: "Count=1", code: "MissingParameter", says: "Name"},
		{name: "missing below", form: "Name=n&TagSpecification.1.Tag.1.Key=k", code: "MissingParameter", says: "TagSpecification.1.ResourceType"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			form, err := url.ParseQuery(c.form)
			if err != nil {
				t.Fatal(err)
			}
			var in request
			err = query.Decode(form, &in)
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if c.name == "everything" && (*in.Count != 3 || string(in.Data) != "hi" || in.TagSpecification[0].Tag[1].Key != "k" || !in.Ebs.Encrypted || !in.Force) {
					t.Errorf("%+v", in)
				}
				return
			}
			var refusal *query.Error
			if !errors.As(err, &refusal) || refusal.Code != c.code || !strings.Contains(refusal.Message, c.says) {
				t.Errorf("got %v, want %s naming %s", err, c.code, c.says)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	body := struct {
		IDs []string `xml:"set>item"`
	}{[]string{"a<"}}
	if err := query.Answer(w, "List", "r-1", body); err != nil {
		t.Fatal(err)
	}
	want := `<ListResponse xmlns="` + query.Namespace + `"><requestId>r-1</requestId><set><item>a&lt;</item></set></ListResponse>`
	if !strings.HasSuffix(w.Body.String(), want) {
		t.Errorf("got %s", w.Body)
	}
	w = httptest.NewRecorder()
	if err := query.Fail(w, "r-2", errors.New("a & b")); err != nil {
		t.Fatal(err)
	}
	if w.Code != 500 || !strings.Contains(w.Body.String(), "<Code>InternalError</Code><Message>a &amp; b</Message>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("Name=n&TagSpecification.1.Tag.2.Key=k&ImageId.1=a")
	f.Add("ImageId.=&ImageId.1.2=3&.=&Ebs=1")
	f.Fuzz(func(t *testing.T, form string) {
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Skip()
		}
		_ = query.Decode(values, new(request)) // it may refuse, it must not panic
	})
}

func TestMembers(t *testing.T) {
	got, err := query.Members(url.Values{"Targets.member.2.Id": {"i-1"}, "Names.member.1": {"web"}, "Port": {"80"}, "Tags": {""}})
	if err != nil || got.Get("Targets.2.Id") != "i-1" || got.Get("Names.1") != "web" || got.Get("Port") != "80" || !got.Has("Tags") {
		t.Errorf("%v, %v", got, err)
	}
	for _, name := range []string{"Targets.2.Id", "Names.member", "Names.member.one", "Names.1.member.1"} {
		if _, err := query.Members(url.Values{name: {"x"}}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
