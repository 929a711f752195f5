package ec2_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

// granted makes a role with the policy of docs/ec2.md for an owner and a configuration, with everything
// put in that the page names, and gives its ARN. What of the policy is needed is remembered when the test
// ends.
func (b *bench) granted(name, owner string, cfg ec2.Config) string {
	b.Helper()
	text, err := document()
	must(b, err)
	out, err := b.api.DescribeSubnets(b.Context(), &sdk.DescribeSubnetsInput{SubnetIds: cfg.Subnets}, in(cfg.Region))
	must(b, err)
	names := []string{"hallmark-main", owner, "vpc-0aaa", *out.Subnets[0].VpcId}
	for n, placeholder := range []string{"subnet-0aaa", "subnet-0bbb", "subnet-0ccc"} {
		names = append(names, placeholder, cfg.Subnets[n%len(cfg.Subnets)])
	}
	role, err := b.lab.Role(name, strings.NewReplacer(names...).Replace(text))
	must(b, err)
	slices.Reverse(names)
	b.Cleanup(func() { needed.add(b.lab.Uses(), strings.NewReplacer(names...)) })
	return role
}

// uses are what of the policy some test of this package has needed.
type uses struct {
	mu  sync.Mutex
	all map[string]bool // "Sid action" and "Sid resource", as the page has them
}

var needed = uses{all: map[string]bool{}}

func (u *uses) add(list []ec2lab.Use, asWritten *strings.Replacer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range list {
		u.all[use.Sid+" "+use.Action] = true
		u.all[use.Sid+" "+asWritten.Replace(use.Resource)] = true
	}
}

// untried is what the laboratory is never asked for, and why.
var untried = map[string]string{
	"UseTheKey":    "the laboratory remembers keys and encrypts nothing",
	"SpotRoleOnce": "the laboratory has no service-linked roles",
}

// policyWasNeeded says whether the tests, if all of them have run, needed all of the policy: each action
// and each resource of each statement has allowed something that the provider did. It runs after the
// tests, each of which has a laboratory of its own.
func policyWasNeeded() bool {
	for _, some := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(some).Value.String() != "" {
			return true
		}
	}
	statements, err := policy()
	if err != nil {
		fmt.Println("policy:", err)
		return false
	}
	ok := true
	for _, s := range statements {
		for _, one := range slices.Concat(s.Action, s.Resource) {
			use := s.Sid + " " + one
			excused := untried[s.Sid]+untried[use] != ""
			switch {
			case needed.all[use] && excused:
				fmt.Printf("policy: %s is on the list of what is untried, and was needed\n", use)
				ok = false
			case !needed.all[use] && !excused:
				fmt.Printf("policy: docs/ec2.md allows %s, and no test needed it\n", use)
				ok = false
			}
		}
	}
	return ok
}
