package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	vmResource     = "vsphere_virtual_machine"
	extraConfig    = "extra_config"
	rebootRequired = "extra_config_reboot_required"
	// reconfigureTimeout is generous: a live change of extraConfig takes a fraction of a second.
	reconfigureTimeout = 2 * time.Minute
)

// login is what the provider was configured with, kept for the one call that it does not make itself.
type login struct {
	server, user, password string
	insecure               bool
}

// liveExtraConfig adds extra_config_reboot_required, which the provider has from 2.3 on: when it is false and nothing but
// extra_config changes, the VM is reconfigured while it runs.
func liveExtraConfig(p *schema.Provider) *schema.Provider {
	var credentials login
	configure := p.ConfigureFunc //nolint:staticcheck // the wrapped provider still uses it
	p.ConfigureFunc = func(d *schema.ResourceData) (any, error) {
		credentials = login{
			server:   d.Get("vsphere_server").(string),
			user:     d.Get("user").(string),
			password: d.Get("password").(string),
			insecure: d.Get("allow_unverified_ssl").(bool),
		}
		return configure(d)
	}

	vm := p.ResourcesMap[vmResource]
	vm.Schema[rebootRequired] = &schema.Schema{
		Type:        schema.TypeBool,
		Optional:    true,
		Default:     true,
		Description: "Whether a change of extra_config reboots the virtual machine.",
	}
	update := vm.Update //nolint:staticcheck // as above
	vm.Update = func(d *schema.ResourceData, meta any) error {
		live := !d.Get(rebootRequired).(bool) && d.HasChange(extraConfig) &&
			!d.HasChangesExcept(extraConfig, rebootRequired)
		if !live {
			return update(d, meta)
		}
		if err := reconfigure(d, credentials); err != nil {
			return err
		}
		return vm.Read(d, meta) //nolint:staticcheck // as above
	}
	return p
}

// reconfigure sends the new extraConfig; keys that are gone are set to the empty string, which removes them.
func reconfigure(d *schema.ResourceData, credentials login) error {
	ctx, cancel := context.WithTimeout(context.Background(), reconfigureTimeout)
	defer cancel()
	target, err := soap.ParseURL(credentials.server)
	if err != nil {
		return fmt.Errorf("vsphere_server: %w", err)
	}
	target.User = url.UserPassword(credentials.user, credentials.password)
	client, err := govmomi.NewClient(ctx, target, credentials.insecure)
	if err != nil {
		return err
	}
	defer func() { _ = client.Logout(context.WithoutCancel(ctx)) }()

	found, err := object.NewSearchIndex(client.Client).FindByUuid(ctx, nil, d.Id(), true, nil)
	if err != nil {
		return err
	}
	if found == nil {
		return fmt.Errorf("virtual machine %s is gone", d.Id())
	}
	before, after := d.GetChange(extraConfig)
	var options []types.BaseOptionValue
	for key, value := range after.(map[string]any) {
		options = append(options, &types.OptionValue{Key: key, Value: value})
	}
	for key := range before.(map[string]any) {
		if _, kept := after.(map[string]any)[key]; !kept {
			options = append(options, &types.OptionValue{Key: key, Value: ""})
		}
	}
	task, err := object.NewVirtualMachine(client.Client, found.Reference()).
		Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: options})
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}
