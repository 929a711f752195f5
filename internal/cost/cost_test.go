package cost

import (
	"math"
	"reflect"
	"testing"
	"time"
)

var began = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

func lived(u Use, hours float64) Use {
	u.From, u.To = began, began.Add(time.Duration(hours*float64(time.Hour)))
	return u
}

func TestOf(t *testing.T) {
	now := began.Add(10 * time.Hour)
	large := Use{Kind: Server, Name: "db-1", Type: "m7i.large", GiB: 8}
	asked := Use{Kind: Server, Name: "web-1", CPUs: 2, MemoryMiB: 4096}
	data := Use{Kind: Volume, Name: "db-1-data", GiB: 73}
	image := Use{Kind: Image, Name: "run-web", GiB: 10}
	table := Prices{Currency: "EUR", Types: []TypePrice{{"m7i.large", 0.1}}, CPU: 0.02, Memory: 0.01, Volume: 0.1, Image: 0.05}
	for name, c := range map[string]struct {
		uses   []Use
		prices Prices
		want   Estimate
		says   string
	}{
		"nothing": {nil, Prices{}, Estimate{}, "0.0 server-hours, 0 GiB-hours of disks"},
		"no prices": {
			[]Use{lived(large, 2), lived(data, 2), lived(image, 730)}, Prices{Currency: "EUR"},
			Estimate{ServerHours: 2, Types: []TypeUse{{"m7i.large", 2}}, DiskGiBHours: 162, ImageGiBMonths: 10},
			"2.0 server-hours (m7i.large 2.0), 162 GiB-hours of disks",
		},
		"by type": {
			[]Use{lived(large, 2), lived(large, 0.5)}, table,
			Estimate{ServerHours: 2.5, Types: []TypeUse{{"m7i.large", 2.5}}, DiskGiBHours: 20, Money: &Money{Currency: "EUR", Servers: 0.25, Disks: 20.0 / 730 * 0.1, Total: 0.25 + 20.0/730*0.1}},
			"2.5 server-hours (m7i.large 2.5), 20 GiB-hours of disks; about 0.25 EUR",
		},
		"by what was asked for": {
			[]Use{lived(asked, 3)}, table,
			Estimate{ServerHours: 3, CPUHours: 6, MemoryGiBHours: 12, Money: &Money{Currency: "EUR", Servers: 3 * (2*0.02 + 4*0.01), Total: 3 * (2*0.02 + 4*0.01)}},
			"3.0 server-hours, 6.0 CPU-hours, 0 GiB-hours of disks; about 0.24 EUR",
		},
		"storage": {
			[]Use{lived(data, 73), lived(image, 365)}, table,
			Estimate{DiskGiBHours: 73 * 73, ImageGiBMonths: 5, Money: &Money{Currency: "EUR", Disks: 0.73, Images: 0.25, Total: 0.98}},
			"0.0 server-hours, 5329 GiB-hours of disks; about 0.98 EUR",
		},
		"types without a price": {
			[]Use{lived(Use{Kind: Server, Type: "t3.small"}, 1), lived(Use{Kind: Server, Type: "t3.small"}, 1), lived(Use{Kind: Server}, 1)}, table,
			Estimate{ServerHours: 3, Types: []TypeUse{{"t3.small", 2}}, Money: &Money{Currency: "EUR", Unpriced: []string{"t3.small", "without type"}}},
			"3.0 server-hours (t3.small 2.0), 0 GiB-hours of disks; about 0.00 EUR, without the servers that have no price: t3.small, without type",
		},
		"still there": {
			[]Use{{Kind: Server, From: began}, {Kind: Server, From: now.Add(time.Hour)}}, Prices{},
			Estimate{ServerHours: 10, Until: &now}, "10.0 server-hours, 0 GiB-hours of disks",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(c.uses, c.prices, now)
			round(&got)
			round(&c.want)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v %+v\nwant %+v %+v", got, got.Money, c.want, c.want.Money)
			}
			if said := got.String(); said != c.says {
				t.Errorf("says %q, want %q", said, c.says)
			}
		})
	}
}

// round takes away what floating point adds.
func round(e *Estimate) {
	numbers := []*float64{&e.ServerHours, &e.CPUHours, &e.MemoryGiBHours, &e.DiskGiBHours, &e.ImageGiBMonths}
	if e.Money != nil {
		numbers = append(numbers, &e.Money.Servers, &e.Money.Disks, &e.Money.Images, &e.Money.Total)
	}
	for _, n := range numbers {
		*n = math.Round(*n*1e6) / 1e6
	}
}

func TestPrice(t *testing.T) {
	for text, ok := range map[string]bool{"0.0416": true, "3": true, "0": true, "-1": false, "free": false, "NaN": false, "+Inf": false} {
		var p Price
		if err := p.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
