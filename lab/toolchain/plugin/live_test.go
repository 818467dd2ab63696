package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-provider-vsphere/vsphere"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// withVCenter runs a test against a simulated vCenter and one of its virtual machines, which are powered on.
func withVCenter(t *testing.T, test func(login, *simulator.VirtualMachine, *object.VirtualMachine)) {
	t.Helper()
	simulator.Test(func(_ context.Context, client *vim25.Client) {
		vm := simulator.Map.Any("VirtualMachine").(*simulator.VirtualMachine)
		credentials := login{server: client.URL().String(), user: "user", password: "pass", insecure: true}
		test(credentials, vm, object.NewVirtualMachine(client, vm.Self))
	})
}

// value is what was set last: this simulator appends, and keeps what was there before.
func value(vm *simulator.VirtualMachine, key string) string {
	last := ""
	for _, option := range vm.Config.ExtraConfig {
		if option.GetOptionValue().Key == key {
			last = option.GetOptionValue().Value.(string)
		}
	}
	return last
}

func specFor(before, after map[string]any) types.VirtualMachineConfigSpec {
	return types.VirtualMachineConfigSpec{ExtraConfig: changed(before, after)}
}

func TestEveryReconfigurationTakesTheProvidersTwoTicksUnlessTheyAreTakenOut(t *testing.T) {
	took := func() time.Duration {
		began := time.Now()
		watchForQuestions(nil)
		return time.Since(began)
	}
	if taken := took(); taken < 10*time.Second {
		t.Errorf("with the wait: %s", taken)
	}
	t.Setenv(noQuestions, "1")
	if taken := took(); taken > time.Second {
		t.Errorf("without the wait: %s", taken)
	}
}

func TestALiveChangeSetsAndRemovesKeysAndLeavesThePowerOn(t *testing.T) {
	withVCenter(t, func(credentials login, vm *simulator.VirtualMachine, _ *object.VirtualMachine) {
		first := map[string]any{"guestinfo.a": "1", "guestinfo.b": "2"}
		for _, step := range []struct{ before, after map[string]any }{
			{map[string]any{}, first},
			{first, map[string]any{"guestinfo.a": "3"}},
		} {
			live, err := reconfigure(credentials, vm.Config.Uuid, specFor(step.before, step.after))
			if err != nil || !live {
				t.Fatalf("live %t, %v", live, err)
			}
		}
		if value(vm, "guestinfo.a") != "3" || value(vm, "guestinfo.b") != "" {
			t.Errorf("a %q, b %q", value(vm, "guestinfo.a"), value(vm, "guestinfo.b"))
		}
		if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			t.Errorf("power state %s", vm.Runtime.PowerState)
		}
	})
}

func TestOnlyWhatHasChangedIsSent(t *testing.T) {
	options := changed(map[string]any{"same": "1", "other": "2"}, map[string]any{"same": "1", "other": "3"})
	if len(options) != 1 || options[0].GetOptionValue().Key != "other" {
		t.Errorf("%+v", options)
	}
}

func TestAMachineThatIsOffIsLeftToTheProvider(t *testing.T) {
	withVCenter(t, func(credentials login, vm *simulator.VirtualMachine, handle *object.VirtualMachine) {
		task, err := handle.PowerOff(context.Background())
		if err == nil {
			err = task.Wait(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		live, err := reconfigure(credentials, vm.Config.Uuid, specFor(nil, map[string]any{"guestinfo.a": "1"}))
		if live || err != nil {
			t.Errorf("live %t, %v", live, err)
		}
		if value(vm, "guestinfo.a") != "" {
			t.Error("changed all the same")
		}
	})
}

func TestAMissingMachineIsNamed(t *testing.T) {
	withVCenter(t, func(credentials login, _ *simulator.VirtualMachine, _ *object.VirtualMachine) {
		const uuid = "00000000-0000-4000-8000-000000000000"
		if _, err := reconfigure(credentials, uuid, specFor(nil, nil)); err == nil || !strings.Contains(err.Error(), uuid) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTheFieldIsThereWithTheOfficialProvidersDefault(t *testing.T) {
	provider := liveExtraConfig(vsphere.Provider())
	field := provider.ResourcesMap[vmResource].Schema[rebootRequired]
	if field == nil || field.Default != true || !field.Optional || field.ForceNew {
		t.Errorf("%+v", field)
	}
	if err := provider.InternalValidate(); err != nil {
		t.Error(err)
	}
}
