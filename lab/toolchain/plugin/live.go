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
		if d.Get(rebootRequired).(bool) || !d.HasChange(extraConfig) || d.HasChangesExcept(extraConfig, rebootRequired) {
			return update(d, meta)
		}
		before, after := d.GetChange(extraConfig)
		live, err := reconfigure(credentials, d.Id(), before.(map[string]any), after.(map[string]any))
		if err != nil {
			// Without this the new values would be recorded all the same, and the next run would not send them.
			d.Partial(true)
			return err
		}
		if !live {
			return update(d, meta) // the provider's own update also powers the virtual machine on
		}
		return vm.Read(d, meta) //nolint:staticcheck // as above
	}
	return p
}

// reconfigure sends what has changed in extraConfig to a virtual machine that runs; keys that are gone are set to the empty
// string, which removes them. It does nothing, and returns false, where the virtual machine is not powered on.
func reconfigure(credentials login, uuid string, before, after map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reconfigureTimeout)
	defer cancel()
	target, err := soap.ParseURL(credentials.server)
	if err != nil {
		return false, fmt.Errorf("vsphere_server: %w", err)
	}
	target.User = url.UserPassword(credentials.user, credentials.password)
	client, err := govmomi.NewClient(ctx, target, credentials.insecure)
	if err != nil {
		return false, err
	}
	defer func() { _ = client.Logout(context.WithoutCancel(ctx)) }()

	found, err := object.NewSearchIndex(client.Client).FindByUuid(ctx, nil, uuid, true, nil)
	if err != nil {
		return false, err
	}
	if found == nil {
		return false, fmt.Errorf("there is no virtual machine with UUID %s any more", uuid)
	}
	vm := object.NewVirtualMachine(client.Client, found.Reference())
	state, err := vm.PowerState(ctx)
	if err != nil || state != types.VirtualMachinePowerStatePoweredOn {
		return false, err
	}
	task, err := vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: changed(before, after)})
	if err != nil {
		return false, err
	}
	return true, task.Wait(ctx)
}

// changed lists the keys that are new or have another value, and those that are gone with an empty one.
func changed(before, after map[string]any) []types.BaseOptionValue {
	var options []types.BaseOptionValue
	for key, value := range after {
		if old, had := before[key]; !had || old != value {
			options = append(options, &types.OptionValue{Key: key, Value: value})
		}
	}
	for key := range before {
		if _, kept := after[key]; !kept {
			options = append(options, &types.OptionValue{Key: key, Value: ""})
		}
	}
	return options
}
