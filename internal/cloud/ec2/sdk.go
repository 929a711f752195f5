package ec2

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// attempts of one request, with the SDK's own growing pauses.
const attempts = 6

// sdk loads the SDK's configuration: its default chain of credentials unless some are given, and the
// role on top of them.
func (c *Config) sdk(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(c.Region),
		config.WithRetryer(func() aws.Retryer { return retryer() }),
		config.WithAppID("hallmark"),
	}
	if c.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(c.Credentials))
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

// retryer slows down when EC2 throttles. It leaves a lack of capacity alone, although that comes with
// status 500: another type or zone is tried at once instead.
func retryer() aws.Retryer {
	return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
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
	})
}
