package ec2lab

import (
	"slices"
	"time"
)

type templateView struct {
	ID       string    `xml:"launchTemplateId"`
	Name     string    `xml:"launchTemplateName"`
	Made     time.Time `xml:"createTime"`
	By       string    `xml:"createdBy"`
	Standard int       `xml:"defaultVersionNumber"`
	Latest   int       `xml:"latestVersionNumber"`
	Tags     []tag     `xml:"tagSet>item"`
}

func (c *call) templateView(t *template) templateView {
	return templateView{t.id, t.name, t.made, c.root(), t.standard, len(t.versions), c.r.tags[t.id].view()}
}

type describeLaunchTemplates struct {
	dry
	pages
	LaunchTemplateID   []string
	LaunchTemplateName []string
	Filter             []filter
}

func (c *call) describeLaunchTemplates(in *describeLaunchTemplates) (any, error) {
	for _, name := range in.LaunchTemplateName {
		if t, err := c.template(templateName{LaunchTemplateName: name}); err != nil {
			return nil, err
		} else if !slices.Contains(in.LaunchTemplateID, t.id) {
			in.LaunchTemplateID = append(in.LaunchTemplateID, t.id)
		}
	}
	list, err := listed(c.r.templates, in.LaunchTemplateID, noTemplate)
	if err != nil {
		return nil, err
	}
	list, err = sift(c, in.Filter, list, func(t *template) attributes {
		return attributes{"launch-template-name": attr(t.name), "create-time": attr(stamp(t.made))}
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]templateView, 0, len(list))
	for _, t := range list {
		views = append(views, c.templateView(t))
	}
	return struct {
		Templates []templateView `xml:"launchTemplates>item"`
		Next      string         `xml:"nextToken,omitempty"`
	}{views, next}, err
}

type versionView struct {
	ID          string    `xml:"launchTemplateId"`
	Name        string    `xml:"launchTemplateName"`
	Number      int       `xml:"versionNumber"`
	Description string    `xml:"versionDescription,omitempty"`
	Made        time.Time `xml:"createTime"`
	By          string    `xml:"createdBy"`
	Standard    bool      `xml:"defaultVersion"`
	Data        dataView  `xml:"launchTemplateData"`
}

// dataView is the part of a version's data that people look at; a launch uses all of it.
type dataView struct {
	Tags     []specificationView `xml:"tagSpecificationSet>item"`
	Image    string              `xml:"imageId,omitempty"`
	Kind     string              `xml:"instanceType,omitempty"`
	Key      string              `xml:"keyName,omitempty"`
	UserData string              `xml:"userData,omitempty"`
	Groups   []string            `xml:"securityGroupIdSet>item"`
	Shutdown string              `xml:"instanceInitiatedShutdownBehavior,omitempty"`
}

type specificationView struct {
	Kind string `xml:"resourceType"`
	Tags []tag  `xml:"tagSet>item"`
}

func (c *call) versionView(t *template, n int) versionView {
	if n < 1 {
		return versionView{}
	}
	v := t.versions[n-1]
	var tags []specificationView
	for _, s := range v.data.TagSpecification {
		tags = append(tags, specificationView{s.ResourceType, s.Tag})
	}
	return versionView{
		t.id, t.name, n, v.description, v.made, c.root(), n == t.standard,
		dataView{tags, v.data.ImageID, v.data.InstanceType, v.data.KeyName, v.data.UserData, v.data.SecurityGroupID, v.data.InstanceInitiatedShutdownBehavior},
	}
}

type describeLaunchTemplateVersions struct {
	dry
	templateName
	LaunchTemplateVersion  []string
	MinVersion, MaxVersion string
}

func (c *call) describeLaunchTemplateVersions(in *describeLaunchTemplateVersions) (any, error) {
	t, err := c.template(in.templateName)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, text := range in.LaunchTemplateVersion {
		n, err := t.number(text)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	if in.LaunchTemplateVersion == nil {
		first, last := 1, len(t.versions)
		if in.MinVersion != "" {
			if first, err = t.number(in.MinVersion); err != nil {
				return nil, err
			}
		}
		if in.MaxVersion != "" {
			if last, err = t.number(in.MaxVersion); err != nil {
				return nil, err
			}
		}
		for n := last; n >= first; n-- {
			numbers = append(numbers, n)
		}
	}
	views := make([]versionView, 0, len(numbers))
	for _, n := range numbers {
		views = append(views, c.versionView(t, n))
	}
	return struct {
		Versions []versionView `xml:"launchTemplateVersionSet>item"`
	}{views}, nil
}
