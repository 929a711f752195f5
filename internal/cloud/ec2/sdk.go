package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/hallmark-ci/hallmark/internal/cloud/clock"
)

// attempts of one request, with the SDK's own growing pauses.
const attempts = 6

// silence is how long an answer may take to begin: EC2 does its work after it has answered.
const silence = time.Minute

// sdk loads the SDK's configuration: its default chain of credentials unless some are given, and the
// role on top of them.
func (c *Config) sdk(ctx context.Context) (aws.Config, error) {
	pace := &turns{clock: c.Clock, waited: c.Waited}
	if c.Calls > 0 {
		pace.every = time.Second / time.Duration(c.Calls)
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(c.Region),
		config.WithRetryer(func() aws.Retryer { return retryer(c.Clock, pace) }),
		config.WithAppID("hallmark"),
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
			c.Log.Debug("the AWS SDK says", "text", fmt.Sprintf(format, args...))
		})),
	}
	if c.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(c.Credentials))
	}
	if c.HTTP == nil {
		options = append(options, config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = silence
		})))
	}
	if c.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(c.Endpoint))
	}
	sdk, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, refuse("read the AWS configuration", "%w", err)
	}
	if c.HTTP != nil { // not as an option: with that, a bundle of certificates in the environment is an error
		sdk.HTTPClient = c.HTTP
	}
	if c.Role != "" {
		sdk.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(sdk), c.Role,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "hallmark" }))
	}
	return sdk, nil
}

// errPaced is what a request ends with that never got its turn.
var errPaced = errors.New("EC2 has throttled so much that no request was sent for " + turnIn.String())

// A request waits for its turn, looking so often, when EC2 throttles.
const (
	turnIn = time.Minute
	look   = 100 * time.Millisecond
)

// paced is the SDK's adaptive way to try again: it sends fewer requests when EC2 throttles. The SDK would
// let a request wait for its turn for ever, and on a clock of its own.
type paced struct {
	*retry.AdaptiveMode
	clock clock.Clock
	turns *turns
}

// turns are those of all requests of a provider, one after another.
type turns struct {
	clock  clock.Clock
	every  time.Duration // 0: everybody's turn is now
	waited func(time.Duration)

	mu   sync.Mutex
	next time.Time
}

// wait waits for a turn. What was not used in the last second may be used at once.
func (t *turns) wait(ctx context.Context) error {
	if t.every == 0 {
		return ctx.Err()
	}
	t.mu.Lock()
	now := t.clock.Now()
	if saved := now.Add(t.every - time.Second); t.next.Before(saved) {
		t.next = saved
	}
	turn := t.next
	t.next = turn.Add(t.every)
	t.mu.Unlock()
	if !turn.After(now) {
		return ctx.Err()
	}
	return t.clock.Sleep(ctx, turn.Sub(now))
}

// GetAttemptToken waits for the turn of a request.
func (p paced) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if p.turns.waited != nil {
		began := p.clock.Now()
		defer func() { p.turns.waited(p.clock.Now().Sub(began)) }()
	}
	if err := p.turns.wait(ctx); err != nil {
		return nil, err
	}
	for deadline := p.clock.Now().Add(turnIn); ; {
		release, err := p.AdaptiveMode.GetAttemptToken(ctx)
		if err == nil {
			return release, nil
		}
		if !p.clock.Now().Before(deadline) {
			return nil, errPaced
		}
		if err := p.clock.Sleep(ctx, look); err != nil {
			return nil, err
		}
	}
}

// retryer leaves a lack of capacity alone, although that comes with status 500: another type or zone is
// tried at once instead.
func retryer(c clock.Clock, turns *turns) aws.Retryer {
	return paced{clock: c, turns: turns, AdaptiveMode: retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.FailOnNoAttemptTokens = true
		o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				var said smithy.APIError
				if errors.As(err, &said) && slices.Contains(noRoom, said.ErrorCode()) {
					return aws.FalseTernary
				}
				return aws.UnknownTernary
			})}, o.Retryables...)
		})
	})}
}
