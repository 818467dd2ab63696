// Command pulumi-resource-vsphere is the Terraform provider for vSphere as a Pulumi plugin, for the lab only.
//
// Production uses the official plugin. This one is built from public Go modules where that cannot be had; it wraps an
// older provider, whose virtual machine resource gets one later field back (see liveExtraConfig).
package main

import (
	"github.com/hashicorp/terraform-provider-vsphere/vsphere"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
)

const (
	name = "vsphere"
	// version is what the locked Python package pulumi-vsphere asks for.
	version = "4.18.2"
	// maxNameLength is vSphere's limit for inventory names made by Pulumi's autonaming.
	maxNameLength = 255
)

func main() {
	info := tfbridge.ProviderInfo{
		P:            shimv2.NewProvider(liveExtraConfig(vsphere.Provider())),
		Name:         name,
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
	}
	info.MustComputeTokens(tokens.SingleModule("vsphere_", "index", tokens.MakeStandard(name)))
	info.SetAutonaming(maxNameLength, "-")
	tfbridge.Main(name, version, info, []byte(`{"name":"vsphere","version":"`+version+`"}`))
}
