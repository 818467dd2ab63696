package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	guestsSelf  = "self"
	guestsAgent = "agent"

	// hardwareVersion is the newest virtual hardware of the simulator. It has to be that of the lab's OVA, else the
	// provider tries to upgrade a VM whenever it changes one.
	hardwareVersion, hardwareKey = 13, "vmx-13"

	// toolsInterval is how often a guest's addresses are reported again, as VMware Tools does. The provider's wait depends on
	// it: it needs the default route before the address, and a first look at both may show them the other way round.
	toolsInterval = time.Second
)

// machine is what is remembered about a VM besides the simulator's own object.
type machine struct {
	on      bool
	boots   int
	pending string // "", "shutdown" or "reboot": what the guest was asked and has not done yet
	guest   guestReport
}

// inventory follows the simulator's objects: it is called when one is put, changed or removed (simulator.RegisterObject),
// and before every method (operations.go).
//
// A VM's lock may be held when mu is taken, never the other way round.
type inventory struct {
	registry *simulator.Registry
	guests   string
	role     *role

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	sequence   int64
	machines   map[types.ManagedObjectReference]*machine
	underway   map[types.ManagedObjectReference]operation // by task
	operations []operation
	faults     []*fault
	cluster    cluster
}

func newInventory(registry *simulator.Registry, guests string) *inventory {
	i := &inventory{
		registry: registry,
		guests:   guests,
		changed:  make(chan struct{}),
		machines: map[types.ManagedObjectReference]*machine{},
		underway: map[types.ManagedObjectReference]operation{},
		cluster:  cluster{drs: true, removed: map[string]bool{}},
		role:     newRole("", ""),
	}
	for _, browser := range registry.AllReference("EnvironmentBrowser") {
		i.PutObject(nil, browser)
	}
	registry.Handler = i.before
	registry.AddHandler(i)
	return i
}

// caller returns a context for what this program does by itself. Locks are held on behalf of a context, so each use needs
// one of its own.
func (i *inventory) caller() *simulator.Context {
	return &simulator.Context{
		Context: context.Background(),
		Map:     i.registry,
		Session: &simulator.Session{UserSession: types.UserSession{UserName: "guest"}, Map: i.registry},
	}
}

// Reference makes the inventory a handler of its own in the registry.
func (i *inventory) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabInventory", Value: "lab-inventory"}
}

// PutObject makes new objects what they are on a real vCenter.
func (i *inventory) PutObject(_ *simulator.Context, object mo.Reference) {
	switch object := object.(type) {
	case *simulator.VirtualMachine:
		if object.Config != nil {
			i.adopt(object)
		}
	case *simulator.EnvironmentBrowser:
		object.QueryConfigOptionResponse.Returnval = &types.VirtualMachineConfigOption{
			Version:         hardwareKey,
			HardwareOptions: types.VirtualHardwareOption{HwVersion: hardwareVersion},
		}
	case *simulator.Task:
		i.taskBegins(object)
	}
}

// adopt gives a new VM UUIDs of its own (the simulator derives them from the path, so that a replaced VM of the same name
// would be the old one again) and the defaults that the simulator leaves empty: the provider would see a change in the
// one, pyVmomi takes no empty text for an enumeration.
func (i *inventory) adopt(vm *simulator.VirtualMachine) {
	i.mu.Lock()
	_, known := i.machines[vm.Self]
	if !known {
		i.machines[vm.Self] = &machine{}
	}
	i.mu.Unlock()
	if known {
		return
	}
	vm.Config.Uuid, vm.Config.InstanceUuid = uuid.NewString(), uuid.NewString()
	vm.Summary.Config.Uuid, vm.Summary.Config.InstanceUuid = vm.Config.Uuid, vm.Config.InstanceUuid
	vm.Config.SwapPlacement = string(types.VirtualMachineConfigInfoSwapPlacementTypeInherit)
	vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
	vm.Runtime.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
	vm.Summary.Runtime.FaultToleranceState = vm.Runtime.FaultToleranceState
	vm.Summary.Runtime.RecordReplayState = vm.Runtime.RecordReplayState
	vm.GuestHeartbeatStatus = types.ManagedEntityStatusGray
	i.touch()
}

// UpdateObject notices what happens to VMs and tasks. The object's lock is held on behalf of ctx.
func (i *inventory) UpdateObject(ctx *simulator.Context, object mo.Reference, changes []types.PropertyChange) {
	switch object := object.(type) {
	case *mo.VirtualMachine:
		if slices.ContainsFunc(changes, func(c types.PropertyChange) bool { return c.Name == "runtime.powerState" }) {
			i.powerChanged(ctx, object)
		}
		if slices.ContainsFunc(changes, func(c types.PropertyChange) bool { return c.Name == "datastore" }) {
			i.moved(ctx, object)
		}
		if slices.ContainsFunc(changes, func(c types.PropertyChange) bool { return !isGuestReport(c.Name) }) {
			i.touch()
		}
	case *mo.Task:
		i.taskChanged(object)
	}
}

// isGuestReport separates a guest's reports from changes of its VM; clients that wait for changes wait for the latter.
func isGuestReport(property string) bool {
	return strings.HasPrefix(property, "guest.") || strings.HasPrefix(property, "summary.guest.")
}

// RemoveObject drops a dead VM from every rule, as a real vCenter does; with the switch, an empty rule goes too. The registry is busy here, and the dead VM's lock
// is held, so that is done in parallel.
func (i *inventory) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	if ref.Type != "VirtualMachine" {
		return
	}
	i.mu.Lock()
	delete(i.machines, ref)
	i.mu.Unlock()
	go i.dropFromRules(ref)
	i.touch()
}

func (i *inventory) dropFromRules(dead types.ManagedObjectReference) {
	ctx := i.caller()
	i.mu.Lock()
	vanish := i.cluster.vanish
	i.mu.Unlock()
	for _, entity := range i.registry.All("ClusterComputeResource") {
		cluster := entity.(*simulator.ClusterComputeResource)
		ctx.WithLock(cluster, func() {
			configuration, ok := cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
			if !ok {
				return
			}
			configuration.Rule = slices.DeleteFunc(configuration.Rule, func(rule types.BaseClusterRuleInfo) bool {
				apart, ok := rule.(*types.ClusterAntiAffinityRuleSpec)
				if !ok || !slices.Contains(apart.Vm, dead) {
					return false
				}
				apart.Vm = slices.DeleteFunc(apart.Vm, func(vm types.ManagedObjectReference) bool { return vm == dead })
				return vanish && len(apart.Vm) == 0
			})
		})
	}
}

// powerChanged counts boots and clears what the guest had reported; it reports for the guest where no agent does.
func (i *inventory) powerChanged(ctx *simulator.Context, vm *mo.VirtualMachine) {
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	var guest guestReport
	if on && i.guests == guestsSelf {
		guest = fromGuestinfo(guestinfo(vm))
	}
	i.mu.Lock()
	m, ok := i.machines[vm.Self]
	if !ok || m.on == on {
		i.mu.Unlock()
		return
	}
	m.on, m.pending, m.guest = on, "", guest
	if on {
		m.boots++
	}
	i.mu.Unlock()
	i.registry.Update(ctx, vm, reportChanges(vm, guest))
}

// touch announces a change.
func (i *inventory) touch() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sequence++
	close(i.changed)
	i.changed = make(chan struct{})
}

// follow repeats what running guests report, until ctx ends.
func (i *inventory) follow(ctx context.Context) {
	ticker := time.NewTicker(toolsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			i.repeatReports()
		}
	}
}

func (i *inventory) repeatReports() {
	for _, entity := range i.registry.All("VirtualMachine") {
		vm, ok := entity.(*simulator.VirtualMachine)
		if !ok {
			continue
		}
		ctx := i.caller()
		ctx.WithLock(vm, func() {
			i.mu.Lock()
			var guest guestReport
			if m, known := i.machines[vm.Self]; known {
				guest = m.guest
			}
			i.mu.Unlock()
			if guest.Tools {
				i.registry.Update(ctx, vm, []types.PropertyChange{{Name: "guest.net", Val: nics(&vm.VirtualMachine, guest)}})
			}
		})
	}
}
