// Package imager makes one prebuilt image of one role: it launches a server from the reference
// base, has it provision itself at stage bake, describes it, seals it, proves that on the stopped disk, and captures it. It holds
// the lineage law: only a reference base is ever a parent.
//
// A build is a list of steps on Packer's interfaces (packersdk.Builder, multistep,
// packersdk.Communicator), cleaned up in reverse, also after failure and cancellation. It is safe
// against a crash at any point: names are deterministic, so the same Spec built again adopts the
// image if it was captured, and otherwise removes what was left and does the work again.
//
// imager decides nothing about retries, verdicts or promotion, and knows no provider.
package imager
