package incus

// BridgeName is for tests that take a network's parts away.
var BridgeName = bridgeName

// Disturbed is for tests that call Incus by hand.
var Disturbed = disturbed
