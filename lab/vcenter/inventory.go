package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	guestsSelf  = "self"
	guestsAgent = "agent"
	// hardware is what the simulator reports as the newest virtual hardware; it has to be that of the lab's OVA, else the
	// provider tries to upgrade a VM whenever it changes one.
	hardwareVersion, hardwareKey = 13, "vmx-13"
	// maxOperations bounds the log; a test makes some dozens.
	maxOperations = 10000
)

// operation is one entry of the task log.
type operation struct {
	Sequence  int64     `json:"sequence"`
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	VM        string    `json:"vm"`
	UUID      string    `json:"uuid"`
}

// fault is an injected failure of one method.
type fault struct {
	Method  string `json:"method"`
	VM      string `json:"vm"`
	Times   int    `json:"times"`
	Message string `json:"message"`
}

// machine is what is remembered about a VM beside the simulator's own object.
type machine struct {
	boots   int
	pending string // "", "shutdown" or "reboot": what the guest was asked and has not done yet
	on      bool
	known   bool // whether its creation has been logged
}

// inventory follows the simulator's objects. It is a simulator.RegisterObject and the hook before every method.
type inventory struct {
	ctx    *simulator.Context
	guests string

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	sequence   int64
	machines   map[types.ManagedObjectReference]*machine
	operations []operation
	faults     []*fault
	work       chan types.ManagedObjectReference
}

func newInventory(ctx *simulator.Context, guests string) *inventory {
	i := &inventory{
		ctx:      ctx,
		guests:   guests,
		changed:  make(chan struct{}),
		machines: map[types.ManagedObjectReference]*machine{},
		work:     make(chan types.ManagedObjectReference, 1024),
	}
	registry := simulator.Map(ctx)
	registry.Handler = i.before
	registry.AddHandler(i)
	return i
}

// Reference makes the inventory a handler of its own in the registry.
func (i *inventory) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabInventory", Value: "lab-inventory"}
}

// PutObject gives each new VM a UUID of its own: the simulator derives it from the path, so that a replaced VM of the same
// name would be the old one again.
func (i *inventory) PutObject(_ *simulator.Context, obj mo.Reference) {
	vm, ok := obj.(*simulator.VirtualMachine)
	if !ok || vm.Config == nil {
		return
	}
	i.mu.Lock()
	if _, seen := i.machines[vm.Self]; seen {
		i.mu.Unlock()
		return
	}
	i.machines[vm.Self] = &machine{}
	i.mu.Unlock()
	vm.Config.Uuid, vm.Config.InstanceUuid = uuid.NewString(), uuid.NewString()
	vm.Summary.Config.Uuid, vm.Summary.Config.InstanceUuid = vm.Config.Uuid, vm.Config.InstanceUuid
	i.touch(vm.Self)
}

// UpdateObject notices every change of a VM.
func (i *inventory) UpdateObject(_ *simulator.Context, obj mo.Reference, _ []types.PropertyChange) {
	if ref := obj.Reference(); ref.Type == "VirtualMachine" {
		i.touch(ref)
	}
}

// RemoveObject drops a dead VM from every rule, as a real vCenter does. The registry is locked here, so the work is done
// beside it.
func (i *inventory) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	if ref.Type != "VirtualMachine" {
		return
	}
	i.mu.Lock()
	delete(i.machines, ref)
	i.mu.Unlock()
	go i.dropFromRules(ref)
	i.touch(ref)
}

func (i *inventory) dropFromRules(dead types.ManagedObjectReference) {
	for _, entity := range simulator.Map(i.ctx).All("ClusterComputeResource") {
		cluster := entity.(*simulator.ClusterComputeResource)
		i.ctx.WithLock(cluster, func() {
			configuration, ok := cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
			if !ok {
				return
			}
			for _, rule := range configuration.Rule {
				if apart, ok := rule.(*types.ClusterAntiAffinityRuleSpec); ok {
					apart.Vm = slices.DeleteFunc(apart.Vm, func(vm types.ManagedObjectReference) bool { return vm == dead })
				}
			}
		})
	}
}

// touch says that something has changed and lets follow look at the VM.
func (i *inventory) touch(ref types.ManagedObjectReference) {
	i.mu.Lock()
	i.sequence++
	close(i.changed)
	i.changed = make(chan struct{})
	i.mu.Unlock()
	select {
	case i.work <- ref:
	default: // follow is behind by a thousand changes: it looks at the VM's present state anyway
	}
}

// operationNames maps the methods that change a VM to the words of the task log.
var operationNames = map[string]string{
	"ReconfigVM_Task": "reconfigure",
	"PowerOnVM_Task":  "power-on",
	"PowerOffVM_Task": "power-off",
	"ShutdownGuest":   "shutdown",
	"RebootGuest":     "reboot",
	"ResetVM_Task":    "reset",
	"Destroy_Task":    "destroy",
}

// before is called ahead of every method: it keeps the simulator's objects as the provider expects them, injects faults,
// writes the task log, and holds back a guest's shutdown while an agent runs the guests.
func (i *inventory) before(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	switch object := simulator.Map(ctx).Get(method.This).(type) {
	case *simulator.EnvironmentBrowser:
		object.QueryConfigOptionResponse.Returnval = &types.VirtualMachineConfigOption{
			Version:         hardwareKey,
			HardwareOptions: types.VirtualHardwareOption{HwVersion: hardwareVersion},
		}
	case *simulator.VirtualMachine:
		return i.beforeVM(object, method)
	}
	for _, entity := range simulator.Map(ctx).All("VirtualMachine") {
		settle(entity.(*simulator.VirtualMachine))
	}
	return nil, nil
}

// settle fills in what a real vCenter always reports and the simulator leaves empty.
func settle(vm *simulator.VirtualMachine) {
	if vm.Config != nil && vm.Config.SwapPlacement == "" {
		vm.Config.SwapPlacement = string(types.VirtualMachineConfigInfoSwapPlacementTypeInherit)
	}
}

func (i *inventory) beforeVM(vm *simulator.VirtualMachine, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	settle(vm)
	name, logged := operationNames[method.Name]
	if !logged {
		return nil, nil
	}
	if injected := i.takeFault(method.Name, vm.Name); injected != nil {
		return nil, &types.GenericVmConfigFault{Reason: injected.Message}
	}
	i.record(name, vm)
	if i.guests == guestsAgent && (name == "shutdown" || name == "reboot") {
		return &heldVM{VirtualMachine: vm, inventory: i}, nil
	}
	return nil, nil
}

func (i *inventory) takeFault(method, vm string) *fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, candidate := range i.faults {
		if candidate.Times > 0 && candidate.Method == method && (candidate.VM == "" || candidate.VM == vm) {
			candidate.Times--
			return candidate
		}
	}
	return nil
}

func (i *inventory) record(name string, vm *simulator.VirtualMachine) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if m, ok := i.machines[vm.Self]; ok && !m.known {
		m.known = true // the first method that names a VM comes right after its creation, when it has its name
		i.append("create", vm)
	}
	i.append(name, vm)
}

func (i *inventory) append(name string, vm *simulator.VirtualMachine) {
	if len(i.operations) >= maxOperations {
		i.operations = i.operations[1:]
	}
	i.sequence++
	i.operations = append(i.operations, operation{i.sequence, time.Now().UTC(), name, vm.Name, vm.Config.Uuid})
}

// heldVM is a VM whose guest is run by an agent: what is asked of the guest is noted, and the power state stays as it is
// until the agent says what the guest did.
type heldVM struct {
	*simulator.VirtualMachine
	inventory *inventory
}

// ShutdownGuest returns at once, as on a real vCenter.
func (vm *heldVM) ShutdownGuest(*simulator.Context, *types.ShutdownGuest) soap.HasFault {
	body := new(methods.ShutdownGuestBody)
	if body.Fault_ = vm.ask("shutdown"); body.Fault_ == nil {
		body.Res = new(types.ShutdownGuestResponse)
	}
	return body
}

// RebootGuest returns at once, as on a real vCenter.
func (vm *heldVM) RebootGuest(*simulator.Context, *types.RebootGuest) soap.HasFault {
	body := new(methods.RebootGuestBody)
	if body.Fault_ = vm.ask("reboot"); body.Fault_ == nil {
		body.Res = new(types.RebootGuestResponse)
	}
	return body
}

func (vm *heldVM) ask(what string) *soap.Fault {
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
		})
	}
	if vm.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return simulator.Fault("", new(types.ToolsUnavailable))
	}
	vm.inventory.setPending(vm.Self, what)
	return nil
}

func (i *inventory) setPending(ref types.ManagedObjectReference, what string) {
	i.mu.Lock()
	if m, ok := i.machines[ref]; ok {
		m.pending = what
	}
	i.mu.Unlock()
	i.touch(ref)
}

// follow looks at each VM that has changed, until ctx ends: it counts boots, clears what a powered-off guest had
// reported, and reports for the guest where no agent does.
func (i *inventory) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case ref := <-i.work:
			if vm, ok := simulator.Map(i.ctx).Get(ref).(*simulator.VirtualMachine); ok {
				i.look(vm)
			}
		}
	}
}

func (i *inventory) look(vm *simulator.VirtualMachine) {
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	i.mu.Lock()
	m, ok := i.machines[vm.Self]
	if !ok || m.on == on {
		i.mu.Unlock()
		return
	}
	m.on = on
	if on {
		m.boots++
	}
	m.pending = ""
	i.mu.Unlock()
	switch {
	case !on:
		i.report(vm, guestReport{})
	case i.guests == guestsSelf:
		i.report(vm, fromGuestinfo(guestinfo(vm)))
	}
}
