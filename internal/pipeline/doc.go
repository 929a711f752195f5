// Package pipeline turns a commit into a verdict and, if all evidence is there, into a promoted
// image set. It owns runs as durable workflows, schedules, the gate, promotion and the reaper. What
// an image build, an environment, a suite or an upgrade does is theirs to say, as lists of steps;
// this package makes each step durable, judges what came of it and decides what is next.
package pipeline

import "github.com/hallmark-ci/hallmark/internal/product"

// EnvironmentSuite is the suite under which trouble with an environment itself is recorded: its
// tests are the steps that failed.
const EnvironmentSuite = product.EnvironmentSuite
