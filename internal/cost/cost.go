// Package cost estimates what work on servers costs: hours and storage from records of what lived how
// long, and money by a table that the user gives. It is data and arithmetic; who records uses, and where
// an estimate is shown, is its callers'.
package cost

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind of what is used.
type Kind string

// Kinds.
const (
	Server Kind = "server"
	Volume Kind = "volume"
	Image  Kind = "image"
)

// Use is one thing over its life.
type Use struct {
	Kind      Kind      `json:"kind"`
	Name      string    `json:"name"`
	Type      string    `json:"type,omitempty"`       // of a server, where its provider has types
	CPUs      int       `json:"cpus,omitempty"`       // that a server was asked to have; 0: the provider's default
	MemoryMiB int       `json:"memory_mib,omitempty"` // likewise
	GiB       float64   `json:"gib,omitempty"`        // of disk; of a server its root disk; 0: not known
	From      time.Time `json:"from"`
	To        time.Time `json:"to"` // zero: it is still there
}

// Prices is a table of prices. There are no defaults: without one an estimate has no money in it.
type Prices struct {
	Currency string      `key:"currency"`         // as it is shown: EUR
	Types    []TypePrice `key:"types"`            // of servers, by type
	CPU      Price       `key:"cpu-hour"`         // of servers whose type is not in the list
	Memory   Price       `key:"memory-gib-hour"`  // likewise
	Volume   Price       `key:"volume-gib-month"` // of volumes and root disks
	Image    Price       `key:"image-gib-month"`
}

// TypePrice is the price of one type of server.
type TypePrice struct {
	Type string `key:"type,required"`
	Hour Price  `key:"hour,required"`
}

// Price is an amount of the table's currency.
type Price float64

// UnmarshalText reads a number that is not negative.
func (p *Price) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) {
		return fmt.Errorf("%q is no price", text)
	}
	*p = Price(n)
	return nil
}

// given reports whether there is a table at all.
func (p Prices) given() bool {
	return len(p.Types) > 0 || p.CPU+p.Memory+p.Volume+p.Image > 0
}

// month is how long a month is where prices are by the month.
const month = 730 * time.Hour

// Estimate is what uses come to. It is an estimate: it leaves out traffic, calls of the provider's API,
// addresses, licences, what a stopped server does not cost, and minimum times; a spot server costs what
// the table says of its type; and an image counts with its whole size, where a provider may keep no more
// than the difference to the one before.
type Estimate struct {
	ServerHours    float64    `json:"server_hours"`
	Types          []TypeUse  `json:"types,omitempty"`            // of servers that have a type, by name
	CPUHours       float64    `json:"cpu_hours,omitempty"`        // of servers that were asked to have CPUs
	MemoryGiBHours float64    `json:"memory_gib_hours,omitempty"` // likewise
	DiskGiBHours   float64    `json:"disk_gib_hours"`             // volumes and root disks
	ImageGiBMonths float64    `json:"image_gib_months"`           // until now, or until they were removed
	Money          *Money     `json:"money,omitempty"`            // nil: there are no prices
	Until          *time.Time `json:"until,omitempty"`            // what lives is counted until then; nil: nothing does
}

// TypeUse is how long servers of one type lived.
type TypeUse struct {
	Type  string  `json:"type"`
	Hours float64 `json:"hours"`
}

// Money is an estimate by a table of prices.
type Money struct {
	Currency string   `json:"currency"`
	Servers  float64  `json:"servers"`
	Disks    float64  `json:"disks"`
	Images   float64  `json:"images"`
	Total    float64  `json:"total"`
	Unpriced []string `json:"unpriced,omitempty"` // types of servers that the table has no price for: not in Servers
}

// Of adds up uses; what lives is counted until now.
func Of(uses []Use, prices Prices, now time.Time) Estimate {
	var e Estimate
	m := Money{Currency: prices.Currency}
	types := map[string]float64{}
	for _, u := range uses {
		end := u.To
		if end.IsZero() {
			end = now
			e.Until = &now
		}
		lived := max(end.Sub(u.From), 0)
		switch u.Kind {
		case Server:
			e.ServerHours += lived.Hours()
			e.CPUHours += float64(u.CPUs) * lived.Hours()
			e.MemoryGiBHours += float64(u.MemoryMiB) / 1024 * lived.Hours()
			if u.Type != "" {
				types[u.Type] += lived.Hours()
			}
			hour, priced := prices.hour(u)
			m.Servers += hour * lived.Hours()
			if !priced {
				m.Unpriced = append(m.Unpriced, cmp.Or(u.Type, "without type"))
			}
			fallthrough
		case Volume:
			e.DiskGiBHours += u.GiB * lived.Hours()
		case Image:
			e.ImageGiBMonths += u.GiB * float64(lived) / float64(month)
		}
	}
	for name, hours := range types {
		e.Types = append(e.Types, TypeUse{name, hours})
	}
	slices.SortFunc(e.Types, func(a, b TypeUse) int { return strings.Compare(a.Type, b.Type) })
	if prices.given() {
		m.Disks = e.DiskGiBHours / month.Hours() * float64(prices.Volume)
		m.Images = e.ImageGiBMonths * float64(prices.Image)
		m.Total = m.Servers + m.Disks + m.Images
		slices.Sort(m.Unpriced)
		m.Unpriced = slices.Compact(m.Unpriced)
		e.Money = &m
	}
	return e
}

// hour is what a server costs in an hour: by its type, else by what it was asked to have.
func (p Prices) hour(u Use) (price float64, known bool) {
	if i := slices.IndexFunc(p.Types, func(t TypePrice) bool { return t.Type == u.Type }); i >= 0 && u.Type != "" {
		return float64(p.Types[i].Hour), true
	}
	price = float64(p.CPU)*float64(u.CPUs) + float64(p.Memory)*float64(u.MemoryMiB)/1024
	return price, price > 0
}

// String is an estimate in one line: "12.3 server-hours (m7i.large 12.3), 85 GiB-hours of disks; about 1.31 EUR".
func (e Estimate) String() string {
	text := fmt.Sprintf("%.1f server-hours", e.ServerHours)
	var types []string
	for _, t := range e.Types {
		types = append(types, fmt.Sprintf("%s %.1f", t.Type, t.Hours))
	}
	if len(types) > 0 {
		text += " (" + strings.Join(types, ", ") + ")"
	}
	if e.CPUHours > 0 {
		text += fmt.Sprintf(", %.1f CPU-hours", e.CPUHours)
	}
	text += fmt.Sprintf(", %.0f GiB-hours of disks", e.DiskGiBHours)
	if e.Money == nil {
		return text
	}
	text += strings.TrimRight(fmt.Sprintf("; about %.2f %s", e.Money.Total, e.Money.Currency), " ")
	if len(e.Money.Unpriced) > 0 {
		text += ", without the servers that have no price: " + strings.Join(e.Money.Unpriced, ", ")
	}
	return text
}
