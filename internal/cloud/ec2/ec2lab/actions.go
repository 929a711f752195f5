package ec2lab

// actions is the whole list; a new one is one line here.
var actions = map[string]action{
	"RunInstances":                  runInstancesAction,
	"DescribeInstances":             on((*call).describeInstances),
	"DescribeInstanceStatus":        on((*call).describeInstanceStatus),
	"TerminateInstances":            on((*call).terminateInstances),
	"StopInstances":                 on((*call).stopInstances),
	"StartInstances":                on((*call).startInstances),
	"RebootInstances":               on((*call).rebootInstances),
	"GetConsoleOutput":              on((*call).getConsoleOutput),
	"GetConsoleScreenshot":          on((*call).getConsoleScreenshot),
	"ModifyInstanceAttribute":       on((*call).modifyInstanceAttribute),
	"ModifyInstanceMetadataOptions": on((*call).modifyMetadataOptions),
	"DescribeInstanceTypes":         on((*call).describeInstanceTypes),

	"CreateImage":                          on((*call).createImage),
	"DescribeImages":                       on((*call).describeImages),
	"DeregisterImage":                      on((*call).deregisterImage),
	"CopyImage":                            on((*call).copyImage),
	"ModifyImageAttribute":                 on((*call).modifyImageAttribute),
	"DescribeImageAttribute":               on((*call).describeImageAttribute),
	"DisableImage":                         on((*call).disableImage),
	"EnableImage":                          on((*call).enableImage),
	"EnableImageDeprecation":               on((*call).enableImageDeprecation),
	"DisableImageDeprecation":              on((*call).disableImageDeprecation),
	"EnableImageDeregistrationProtection":  on((*call).enableProtection),
	"DisableImageDeregistrationProtection": on((*call).disableProtection),

	"CreateSnapshot":            on((*call).createSnapshot),
	"DescribeSnapshots":         on((*call).describeSnapshots),
	"DeleteSnapshot":            on((*call).deleteSnapshot),
	"ModifySnapshotAttribute":   on((*call).modifySnapshotAttribute),
	"DescribeSnapshotAttribute": on((*call).describeSnapshotAttribute),

	"CreateVolume":    on((*call).createVolume),
	"DescribeVolumes": on((*call).describeVolumes),
	"AttachVolume":    on((*call).attachVolume),
	"DetachVolume":    on((*call).detachVolume),
	"DeleteVolume":    on((*call).deleteVolume),

	"CreateSecurityGroup":           on((*call).createSecurityGroup),
	"DescribeSecurityGroups":        on((*call).describeSecurityGroups),
	"DeleteSecurityGroup":           on((*call).deleteSecurityGroup),
	"AuthorizeSecurityGroupIngress": on(authorize(false)),
	"AuthorizeSecurityGroupEgress":  on(authorize(true)),
	"RevokeSecurityGroupIngress":    on(revoke(false)),
	"RevokeSecurityGroupEgress":     on(revoke(true)),

	"CreateNetworkInterface":          on((*call).createNetworkInterface),
	"DescribeNetworkInterfaces":       on((*call).describeNetworkInterfaces),
	"DeleteNetworkInterface":          on((*call).deleteNetworkInterface),
	"ModifyNetworkInterfaceAttribute": on((*call).modifyNetworkInterface),

	"DescribeSubnets":           on((*call).describeSubnets),
	"DescribeVpcs":              on((*call).describeVpcs),
	"DescribeAvailabilityZones": on((*call).describeZones),
	"DescribeRegions":           on((*call).describeRegions),

	"DescribeSpotInstanceRequests": on((*call).describeSpotRequests),
	"CancelSpotInstanceRequests":   on((*call).cancelSpotRequests),

	"ImportKeyPair":    on((*call).importKeyPair),
	"DescribeKeyPairs": on((*call).describeKeyPairs),
	"DeleteKeyPair":    on((*call).deleteKeyPair),

	"CreateTags":   on((*call).createTags),
	"DeleteTags":   on((*call).deleteTags),
	"DescribeTags": on((*call).describeTags),

	"CreateLaunchTemplate":           on((*call).createLaunchTemplate),
	"CreateLaunchTemplateVersion":    on((*call).createLaunchTemplateVersion),
	"DescribeLaunchTemplates":        on((*call).describeLaunchTemplates),
	"DescribeLaunchTemplateVersions": on((*call).describeLaunchTemplateVersions),
	"ModifyLaunchTemplate":           on((*call).modifyLaunchTemplate),
	"DeleteLaunchTemplate":           on((*call).deleteLaunchTemplate),
}
