package incus

// BridgeName is for tests that take a network's parts away.
var BridgeName = bridgeName
