package ec2lab

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

// template is a launch template. Its versions keep the parameters as they came, to be put under those
// of RunInstances.
type template struct {
	identity
	name     string
	made     time.Time
	versions []version // version n is at n-1
	standard int       // the default version
}

type version struct {
	form        url.Values // names without LaunchTemplateData.
	data        runInstances
	description string
	made        time.Time
}

const noTemplate = "InvalidLaunchTemplateId.NotFound"

// templateName is embedded by what names a template.
type templateName struct {
	LaunchTemplateID   string
	LaunchTemplateName string
}

func (c *call) template(n templateName) (*template, error) {
	if (n.LaunchTemplateID == "") == (n.LaunchTemplateName == "") {
		return nil, query.Errorf("InvalidParameterCombination", "Give either LaunchTemplateId or LaunchTemplateName")
	}
	if n.LaunchTemplateID != "" {
		return find(c.r.templates, n.LaunchTemplateID, noTemplate)
	}
	for _, t := range c.r.templates {
		if t.name == n.LaunchTemplateName {
			return t, nil
		}
	}
	return nil, query.Errorf("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", n.LaunchTemplateName)
}

// number reads a version: a number, $Default or $Latest.
func (t *template) number(text string) (int, error) {
	switch text {
	case "", "$Default":
		return t.standard, nil
	case "$Latest":
		return len(t.versions), nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > len(t.versions) {
		return 0, query.Errorf("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version %s of %s", text, t.id)
	}
	return n, nil
}

// expand puts the data of the template that a form names under the form's own.
func (c *call) expand(form url.Values) error {
	ref := templateName{form.Get("LaunchTemplate.LaunchTemplateId"), form.Get("LaunchTemplate.LaunchTemplateName")}
	if ref == (templateName{}) {
		return nil
	}
	t, err := c.template(ref)
	if err != nil {
		return err
	}
	n, err := t.number(form.Get("LaunchTemplate.Version"))
	if err != nil {
		return err
	}
	under(form, t.versions[n-1].form)
	return nil
}

// tops are the parameters of a form, without the parts that they have.
func tops(form url.Values) map[string]bool {
	given := map[string]bool{}
	for name := range form {
		top, _, _ := strings.Cut(name, ".")
		given[top] = true
	}
	return given
}

// under adds the parameters of another form that a form does not have itself.
func under(form, other url.Values) {
	given := tops(form)
	for name, values := range other {
		if top, _, _ := strings.Cut(name, "."); !given[top] {
			form[name] = values
		}
	}
}

// newVersion reads the data of a request.
func (c *call) newVersion(data runInstances, description string) (version, error) {
	if data.ClientToken != "" || data.LaunchTemplate != nil || data.DryRun || data.MinCount+data.MaxCount != 0 {
		return version{}, query.Errorf("UnknownParameter", "A launch template holds no ClientToken, LaunchTemplate, DryRun or counts")
	}
	v := version{form: url.Values{}, data: data, description: description, made: c.at}
	for name, values := range c.form {
		if rest, ok := strings.CutPrefix(name, "LaunchTemplateData."); ok {
			v.form[rest] = values
		}
	}
	return v, nil
}

type createLaunchTemplate struct {
	dry
	ClientToken        string
	LaunchTemplateName string `query:"required"`
	VersionDescription string
	LaunchTemplateData *runInstances `query:"required"`
	TagSpecification   []tagSpecification
}

func (c *call) createLaunchTemplate(in *createLaunchTemplate) (any, error) {
	tags, err := specified(in.TagSpecification, "launch-template")
	if err != nil {
		return nil, err
	}
	v, err := c.newVersion(*in.LaunchTemplateData, in.VersionDescription)
	if err != nil {
		return nil, err
	}
	id, err := c.once(in.ClientToken, func() (string, error) {
		for _, t := range c.r.templates {
			if t.name == in.LaunchTemplateName {
				return "", query.Errorf("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
			}
		}
		t := &template{identity: c.identify("lt-"), name: in.LaunchTemplateName, made: c.at, versions: []version{v}, standard: 1}
		c.r.templates[t.id] = t
		c.r.tag(t.id, tags["launch-template"])
		return t.id, nil
	})
	if err != nil {
		return nil, err
	}
	return c.oneTemplate(id)
}

func (c *call) oneTemplate(id string) (any, error) {
	t, err := find(c.r.templates, id, noTemplate)
	if err != nil {
		return nil, err
	}
	return struct {
		Template templateView `xml:"launchTemplate"`
	}{c.templateView(t)}, nil
}

type createLaunchTemplateVersion struct {
	dry
	templateName
	ClientToken        string
	SourceVersion      string
	VersionDescription string
	LaunchTemplateData *runInstances `query:"required"`
}

func (c *call) createLaunchTemplateVersion(in *createLaunchTemplateVersion) (any, error) {
	t, err := c.template(in.templateName)
	if err != nil {
		return nil, err
	}
	v, err := c.newVersion(*in.LaunchTemplateData, in.VersionDescription)
	if err == nil && in.SourceVersion != "" {
		err = v.inherit(t, in.SourceVersion)
	}
	if err != nil {
		return nil, err
	}
	n, err := c.once(in.ClientToken, func() (string, error) {
		t.versions = append(t.versions, v)
		return strconv.Itoa(len(t.versions)), nil
	})
	if err != nil {
		return nil, err
	}
	made, err := t.number(n)
	return struct {
		Version versionView `xml:"launchTemplateVersion"`
	}{c.versionView(t, made)}, err
}

// inherit puts the parameters of another version under a version's own.
func (v *version) inherit(t *template, source string) error {
	n, err := t.number(source)
	if err != nil {
		return err
	}
	under(v.form, t.versions[n-1].form)
	v.data = runInstances{}
	return query.Decode(v.form, &v.data)
}

type modifyLaunchTemplate struct {
	dry
	templateName
	ClientToken       string
	SetDefaultVersion string
}

func (c *call) modifyLaunchTemplate(in *modifyLaunchTemplate) (any, error) {
	t, err := c.template(in.templateName)
	if err != nil {
		return nil, err
	}
	n, err := t.number(in.SetDefaultVersion)
	if err != nil {
		return nil, err
	}
	t.standard = n
	return c.oneTemplate(t.id)
}

type deleteLaunchTemplate struct {
	dry
	templateName
}

func (c *call) deleteLaunchTemplate(in *deleteLaunchTemplate) (any, error) {
	t, err := c.template(in.templateName)
	if err != nil {
		return nil, err
	}
	answer, err := c.oneTemplate(t.id)
	delete(c.r.templates, t.id)
	delete(c.r.tags, t.id)
	return answer, err
}

// root is the account's user, who did everything.
func (l *Lab) root() string { return "arn:aws:iam::" + l.cfg.Account + ":root" }

// encoded is base64, as the API gives what may hold any byte.
func encoded(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }
