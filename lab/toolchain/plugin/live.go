package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
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
	// questionCheckInterval and questionTicks are those of the official provider of July 2026 (2.16.1,
	// questionCheckIntervalSecs).
	questionCheckInterval = 5 * time.Second
	questionTicks         = 2
	// noQuestions names the environment variable that takes this wait out, for measuring what is not the provider's.
	noQuestions = "LBSTACK_LAB_NO_QUESTIONS"
)

// login is what the provider was configured with, kept for the one call that it does not make itself.
type login struct {
	server, user, password string
	insecure               bool
}

// live are the arguments that are sent to a virtual machine that keeps running, and those that vCenter never hears of (they
// tell the provider what to wait for); any other change takes the older provider's own way, with a reboot.
var live = []string{
	extraConfig, rebootRequired, "num_cpus", "memory", "annotation", "ignored_guest_ips", "wait_for_guest_net_timeout",
}

// liveExtraConfig adds extra_config_reboot_required, which the provider has from 2.3 on: when it is false and extra_config
// changes, the VM is reconfigured while it runs.
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
	create, update := vm.Create, vm.Update //nolint:staticcheck // as above
	vm.Create = func(d *schema.ResourceData, meta any) error {
		err := create(d, meta)
		watchForQuestions(err)
		return err
	}
	vm.Update = func(d *schema.ResourceData, meta any) error {
		if !d.HasChange(extraConfig) || d.Get(rebootRequired).(bool) || d.HasChangesExcept(live...) {
			err := update(d, meta)
			watchForQuestions(err)
			return err
		}
		running, err := reconfigure(credentials, d.Id(), specOf(d))
		if err != nil {
			// Without this the new values would be recorded all the same, and the next run would not send them.
			d.Partial(true)
			return err
		}
		if !running {
			err = update(d, meta) // the provider's own update also powers the virtual machine on
		}
		watchForQuestions(err)
		if err != nil || !running {
			return err
		}
		return vm.Read(d, meta) //nolint:staticcheck // as above
	}
	return p
}

// watchForQuestions takes the time that the official provider takes after every reconfiguration, with a reboot or without:
// it looks for questions of the virtual machine in ticks, and ends with the second tick after the task.
func watchForQuestions(err error) {
	if err == nil && os.Getenv(noQuestions) == "" {
		time.Sleep(questionTicks * questionCheckInterval)
	}
}

// specOf is what a change sends to a virtual machine that keeps running. The argument *overwrites* the provider's own
// answer whether a reboot is required, so a change of CPUs or memory beside it is tried too, and fails there.
func specOf(d *schema.ResourceData) types.VirtualMachineConfigSpec {
	before, after := d.GetChange(extraConfig)
	spec := types.VirtualMachineConfigSpec{ExtraConfig: changed(before.(map[string]any), after.(map[string]any))}
	if d.HasChange("num_cpus") {
		spec.NumCPUs = int32(d.Get("num_cpus").(int)) //nolint:gosec // a few
	}
	if d.HasChange("memory") {
		spec.MemoryMB = int64(d.Get("memory").(int))
	}
	if d.HasChange("annotation") {
		spec.Annotation = d.Get("annotation").(string)
	}
	return spec
}

// reconfigure sends a change to a virtual machine that runs; it does nothing, and returns false, where the virtual machine is not powered on.
func reconfigure(credentials login, uuid string, spec types.VirtualMachineConfigSpec) (bool, error) {
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
	task, err := vm.Reconfigure(ctx, spec)
	if err != nil {
		return false, err
	}
	return true, task.Wait(ctx)
}

// changed lists the keys that are new or have another value, and those that are gone with an empty one, which removes them.
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
