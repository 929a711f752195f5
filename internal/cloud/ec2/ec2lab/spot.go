package ec2lab

import (
	"time"
)

// spotRequest is what a spot instance comes from. A persistent one outlives its instance: EC2 would
// launch another, the lab never has the spare capacity for it.
type spotRequest struct {
	identity
	instance   *instance
	persistent bool
	until      time.Time // zero: no end
	cancelled  bool
	made       time.Time
}

func (s *spotRequest) kind() string {
	if s.persistent {
		return "persistent"
	}
	return "one-time"
}

// state as of now. Called with mu held.
func (s *spotRequest) state(now time.Time) string {
	switch {
	case s.cancelled:
		return "cancelled"
	case s.instance != nil && s.instance.state == stopped:
		return "disabled"
	case s.instance != nil && s.instance.state != shuttingDown && s.instance.state != terminated:
		return "active"
	case !s.persistent:
		return "closed"
	case !s.until.IsZero() && !now.Before(s.until):
		return "cancelled"
	}
	return "open"
}

// requested makes the request of an instance that is to be a spot instance. Called with mu held.
func (c *call) requested(i *instance, tags tagSet) {
	s := &spotRequest{identity: c.identify(spotPrefix), instance: i, persistent: i.persistent, until: i.validUntil, made: c.at}
	c.r.spots[s.id] = s
	c.r.tag(s.id, tags)
	i.spot = s.id
}

const (
	spotPrefix = "sir-"
	noRequest  = "InvalidSpotInstanceRequestID.NotFound"
)

type describeSpotRequests struct {
	dry
	pages
	SpotInstanceRequestID []string
	Filter                []filter
}

func (c *call) describeSpotRequests(in *describeSpotRequests) (any, error) {
	list, err := listed(c.r.spots, in.SpotInstanceRequestID, noRequest)
	if err != nil {
		return nil, err
	}
	list, err = sift(c, in.Filter, list, func(s *spotRequest) attributes {
		a := attributes{"spot-instance-request-id": attr(s.id), "state": attr(s.state(c.at)), "type": attr(s.kind()), "instance-id": nil}
		if s.instance != nil {
			a["instance-id"] = attr(s.instance.id)
		}
		return a
	})
	if err != nil {
		return nil, err
	}
	list, next, err := page(list, in.pages)
	type view struct {
		ID       string     `xml:"spotInstanceRequestId"`
		Kind     string     `xml:"type"`
		State    string     `xml:"state"`
		Instance string     `xml:"instanceId"`
		Made     time.Time  `xml:"createTime"`
		Until    *time.Time `xml:"validUntil,omitempty"`
		Tags     []tag      `xml:"tagSet>item"`
	}
	views := []view{}
	for _, s := range list {
		v := view{ID: s.id, Kind: s.kind(), State: s.state(c.at), Instance: s.instance.id, Made: s.made, Tags: c.r.tags[s.id].view()}
		if !s.until.IsZero() {
			v.Until = &s.until
		}
		views = append(views, v)
	}
	return struct {
		Requests []view `xml:"spotInstanceRequestSet>item"`
		Next     string `xml:"nextToken,omitempty"`
	}{views, next}, err
}

type cancelSpotRequests struct {
	dry
	SpotInstanceRequestID []string `query:"required"`
}

// cancelSpotRequests leaves the instances alone, as EC2 does.
func (c *call) cancelSpotRequests(in *cancelSpotRequests) (any, error) {
	list, err := listed(c.r.spots, in.SpotInstanceRequestID, noRequest)
	if err != nil {
		return nil, err
	}
	type view struct {
		ID    string `xml:"spotInstanceRequestId"`
		State string `xml:"state"`
	}
	views := []view{}
	for _, s := range list {
		s.cancelled = true
		views = append(views, view{s.id, s.state(c.at)})
	}
	return struct {
		Requests []view `xml:"spotInstanceRequestSet>item"`
	}{views}, nil
}
