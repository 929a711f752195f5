package config

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	accountID    = regexp.MustCompile(`^[0-9]{12}$`)
	organisation = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:(organization/o-|ou/o-)[a-z0-9/-]+$`)
)

// longestDeprecation is what EC2 takes.
const longestDeprecation = 10 * 365 * 24 * time.Hour

// Check knows patterns, accounts and organisations.
func (o *Offer) Check(at Place) {
	if len(o.Channels) == 0 {
		at.Problem("channels", "is empty", "name channels, or patterns such as release-*")
	}
	for i, pattern := range o.Channels {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			at.Problem(fmt.Sprintf("channels[%d]", i), fmt.Sprintf("%q is no pattern", pattern), "write it as production or release-*")
		}
	}
	for i, account := range o.Accounts {
		if !accountID.MatchString(account) {
			at.Problem(fmt.Sprintf("accounts[%d]", i), fmt.Sprintf("%q is no account", account), `write its twelve digits in quotes: "123456789012"`)
		}
	}
	for i, arn := range o.Organisations {
		if !organisation.MatchString(arn) {
			at.Problem(fmt.Sprintf("organisations[%d]", i), fmt.Sprintf("%q is no organisation", arn), "write its ARN: arn:aws:organizations::123456789012:organization/o-…, or that of a unit: …:ou/o-…/ou-…")
		}
	}
	for _, region := range slices.Sorted(maps.Keys(o.Keys)) {
		switch {
		case !slices.Contains(o.Regions, region):
			at.Problem("keys."+region, "is no region of this entry", "add it to its regions, or remove the key")
		case o.Keys[region] == "":
			at.Problem("keys."+region, "is empty", "name a KMS key of that region, or remove it")
		}
	}
	if o.DeprecateAfter > longestDeprecation {
		at.Problem("deprecate-after", fmt.Sprintf("%s is longer than EC2 takes", o.DeprecateAfter), "use ten years at most, or leave it out: never")
	}
	if o.DeprecateAfter == 0 && at.Has("deprecate-after") {
		at.Problem("deprecate-after", "is nothing at all", "give it some time, such as 90d, or leave it out: never")
	}
}

// checkOffers says what does not fit the provider, or each other: an image may be in any two channels.
func (e *EC2) checkOffers(at Place) {
	if strings.Contains(e.Parameters, "//") || !strings.HasPrefix(e.Parameters, "/") {
		at.Problem("ec2.parameters", fmt.Sprintf("%q is no path", e.Parameters), "write it as /hallmark")
	}
	keys, shared := map[string]string{}, -1
	for i, o := range e.Publish {
		if len(o.Accounts)+len(o.Organisations) > 0 && shared < 0 {
			shared = i
		}
		for j, region := range o.Regions {
			key := fmt.Sprintf("ec2.publish[%d].regions[%d]", i, j)
			switch {
			case region == e.Region:
				at.Problem(key, fmt.Sprintf("%q is where images are made: they are there anyway", region), "remove it")
			case !slices.Contains(e.Regions, region):
				at.Problem(key, fmt.Sprintf("%q is not among provider.ec2.regions", region), Hint(region, e.Regions))
			}
			if k := o.Keys[region]; k != "" {
				if first := keys[region]; first != "" && first != k {
					at.Problem(fmt.Sprintf("ec2.publish[%d].keys.%s", i, region), fmt.Sprintf("%q is another key than %q, and an image has one copy in a region", k, first), "give one key for each region")
				}
				keys[region] = k
			}
		}
	}
	if shared < 0 {
		return
	}
	const unsharable = "and what the account's default key encrypts cannot be shared"
	sharer := fmt.Sprintf("is a key that AWS manages, which no other account can use, and publish[%d] shares images", shared)
	const own = "make a KMS key of your own there, which the other accounts may use, and name it"
	switch {
	case awsManaged(e.KMSKey):
		at.Problem("ec2.kms-key", fmt.Sprintf("%q %s", e.KMSKey, sharer), own)
	case e.KMSKey == "":
		at.Problem(fmt.Sprintf("ec2.publish[%d]", shared), "shares images, "+unsharable, "name a KMS key under provider.ec2.kms-key")
	}
	for i, o := range e.Publish {
		for _, region := range slices.Sorted(maps.Keys(o.Keys)) {
			if awsManaged(o.Keys[region]) {
				at.Problem(fmt.Sprintf("ec2.publish[%d].keys.%s", i, region), fmt.Sprintf("%q %s", o.Keys[region], sharer), own)
			}
		}
		for j, region := range o.Regions {
			if keys[region] == "" && region != e.Region && slices.Contains(e.Regions, region) {
				at.Problem(fmt.Sprintf("ec2.publish[%d].regions[%d]", i, j), fmt.Sprintf("%q has no key, but publish[%d] shares images, %s", region, shared, unsharable), "give a KMS key of that region under keys")
				keys[region] = "missing" // once is enough
			}
		}
	}
}

// awsManaged reports whether a key is named by an alias of those that AWS makes in an account for itself
// (alias/aws/ebs), as an ARN or not: AWS reserves that prefix. Named by their id they can't be told from others.
func awsManaged(key string) bool {
	if strings.HasPrefix(key, "arn:") {
		_, key, _ = strings.Cut(key, ":alias/")
		key = "alias/" + key
	}
	return strings.HasPrefix(key, "alias/aws/")
}
