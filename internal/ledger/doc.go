// Package ledger keeps what happened: runs and their stages, results, images, image sets, channels
// and their moves, evidence, environments and schedules' ticks. It is the one state that the daemon
// and the command line share. It stores and finds; it judges nothing and knows no provider.
package ledger
