package ec2lab

import "time"

type describeSpot struct {
	dry
	pages
	SpotInstanceRequestID []string
	Filter                []filter
}

type spotView struct {
	ID       string     `xml:"spotInstanceRequestId"`
	Kind     string     `xml:"type"`
	State    spotState  `xml:"state"`
	Status   string     `xml:"status>code"`
	Changed  time.Time  `xml:"status>updateTime"`
	Image    string     `xml:"launchSpecification>imageId"`
	Size     string     `xml:"launchSpecification>instanceType"`
	Instance string     `xml:"instanceId,omitempty"`
	Made     time.Time  `xml:"createTime"`
	Until    *time.Time `xml:"validUntil"`
	Product  string     `xml:"productDescription"`
	Zone     string     `xml:"launchedAvailabilityZone,omitempty"`
	Behavior string     `xml:"instanceInterruptionBehavior"`
	Tags     []tag      `xml:"tagSet>item"`
}

func (c *call) describeSpotRequests(in *describeSpot) (any, error) {
	list, err := listed(c.r.spots, in.SpotInstanceRequestID, noSpot)
	if err != nil {
		return nil, err
	}
	if list, err = sift(c, in.Filter, list, spotAttributes); err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	views := make([]spotView, 0, len(list))
	for _, q := range list {
		v := spotView{
			ID: q.id, Kind: q.kind(), State: q.state, Status: q.status, Changed: q.changed, Image: q.instance.image.id, Size: q.instance.kind.name,
			Made: q.made, Product: "Linux/UNIX", Behavior: q.behavior, Tags: c.r.tags[q.id].view(),
		}
		if !q.until.IsZero() {
			v.Until = &q.until
		}
		if q.instance.state != terminated {
			v.Instance = q.instance.id
		}
		if n := q.instance.nic; n != nil {
			v.Zone = n.subnet.zone
		}
		views = append(views, v)
	}
	return struct {
		Requests []spotView `xml:"spotInstanceRequestSet>item"`
		Next     string     `xml:"nextToken,omitempty"`
	}{views, next}, err
}

func (q *spotRequest) kind() string {
	if q.persistent {
		return "persistent"
	}
	return "one-time"
}

func spotAttributes(q *spotRequest) attributes {
	a := attributes{"spot-instance-request-id": attr(q.id), "state": attr(string(q.state)), "type": attr(q.kind()), "status-code": attr(q.status), "instance-id": nil}
	if q.instance != nil {
		a["instance-id"] = attr(q.instance.id)
	}
	return a
}
