// Package ec2lab is a test tool: an endpoint that speaks AWS EC2's Query protocol (with the few actions of
// ELB, Auto Scaling, SSM, STS and IAM that go with it) over real machines, so that unmodified code through the
// real SDK launches, reaches, reboots, captures and relaunches something that really boots. It owns
// the API's words, states, errors and faults; package machines owns what runs, package iam reads
// policies. State is in memory and dies with the process. It is not for anything that matters: it checks
// no signature; region and access key are told by the credential scope of the Authorization header, and
// nothing else is read of it.
//
// A key that AssumeRole gave is its role's, and what the role's policies do not allow is denied as EC2
// does it: each resource of a request, with its condition keys, as AWS' service authorization reference
// has them (rights.go). Any other key is the account's root, who may do everything. A role is made with
// IAM's own actions or with Lab.Role.
//
// Code is pointed at it by the SDK's own means: a base endpoint, any credentials, a region of the lab.
//
//	lab, err := ec2lab.New(ctx, ec2lab.Config{Seeds: []ec2lab.Seed{{Name: "debian-12-1", Fingerprint: print, Owner: "136693071363"}}})
//	server := httptest.NewServer(lab.Handler())
//	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("eu-lab-1"), config.WithBaseEndpoint(server.URL),
//		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("any", "any", "")))
//	subnet := lab.Subnet("eu-lab-1a")              // where to launch
//	operator := lab.Gateway().String() + "/32"     // what to let in for SSH from this host
//
// Faithful, and tested so: names, shapes and codes of the actions it has; a parameter that it does
// not know is refused and never ignored; states change in time, with the intermediate ones;
// interfaces and volumes outlive instances; security groups are enforced on real packets, connections
// that are established stay, as with EC2's tracking; user-data reaches cloud-init by its EC2 data
// source from a metadata service that can insist on tokens.
//
// Not faithful:
//   - A machine is a system container. It shares the host's kernel and has no block devices: a data
//     volume appears as a directory where Linux shows the device of an EBS volume on Nitro,
//     /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0. What is to be mounted
//     must be bound, not mounted, and is already formatted. (A loop device can be handed in and formatted,
//     but to mount it was refused inside, also with Incus 6.0.4 told to intercept.) The root volume
//     exists in the API only.
//   - Snapshots of data volumes are copies of directories. Encryption and keys are remembered, not done.
//   - All of a lab's subnets lie behind one router whose address is the lab's gateway; a machine sees
//     the lab's whole range as its own network. The host itself counts as the gateway's address: a
//     group that lets in this address lets in whoever works on the host, as from an operator's VPN.
//   - There is no internet gateway: a rule that allows all egress reaches the host's own addresses and
//     other machines, and nothing beyond. DNS knows machines of the lab only.
//   - Spot capacity runs out and comes back by script and by the clock only. What a persistent request
//     launches again has no tags, because a request's launch specification has none; whether EC2 remembers
//     those of RunInstances it does not say.
//   - There are no load balancers: every target group counts as used by one, nobody asks its targets
//     anything, and one check decides. A target is healthy an interval after it was registered if its
//     instance runs, unless the fault Unhealthy says otherwise.
//   - A scaling group looks around every Config.Watch. It has no policies, hooks, pools of warm or mixed
//     instances, standby or protection, and a refresh has no checkpoints, alarms or bake time.
//   - A dry run checks the parameters' form and the caller's rights.
//   - Of IAM there are roles with inline policies and nothing else: no users, groups, boundaries, session
//     policies and managed policies. Who may assume a role is not checked, and a session does not end.
//     Keys have no rights: KMS is asked for nothing, and there is no service-linked role.
//     What a scaling group launches is checked against its caller's rights when the template is given, and
//     launched as root.
//   - What an instance profile gives is made up, and opens nothing. There is no instance identity role.
//   - That a token does not travel further than HttpPutResponseHopLimit is real where machines are: the answer's packets have
//     that many hops to live. With machines.Memory there are no packets; a test says how far away a request is made.
//   - Quotas, prices, public addresses, IPv6 and everything else that is not here.
package ec2lab
