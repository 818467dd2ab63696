package main

import (
	"reflect"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxOperations bounds the log; a deployment makes some dozens.
const maxOperations = 10000

const (
	pendingShutdown = "shutdown"
	pendingReboot   = "reboot"

	serviceInstance = "ServiceInstance"

	// maxDelay bounds how long a slow call is, in seconds, because nothing ends it before.
	maxDelay = 60
)

// operation is one entry of the operation log: something that was done to a VM, with success, in the order of its end.
type operation struct {
	Sequence  int64     `json:"sequence"`
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	VM        string    `json:"vm"`
	UUID      string    `json:"uuid"`
}

// operationNames maps what the simulator calls its tasks to the words of the log. A task that results in a VM is a
// "create", whatever it is called.
var operationNames = map[string]string{
	"VirtualMachine.reconfigVm":    "reconfigure",
	"VirtualMachine.powerOn":       "power-on",
	"VirtualMachine.powerOff":      "power-off",
	"VirtualMachine.suspend":       "suspend",
	"VirtualMachine.shutdownGuest": "shutdown",
	"VirtualMachine.reset":         "reset",
	"VirtualMachine.destroy":       "destroy",
}

// taskBegins remembers whose task it is: the VM may be gone when it ends. It also gives the task the VM's name, which an
// independent client reads from the task manager; the simulator writes the reference there.
func (i *inventory) taskBegins(task *simulator.Task) {
	if task.Info.Entity == nil {
		return
	}
	entry := operation{Operation: operationNames[task.Info.DescriptionId]}
	if vm, ok := i.registry.Get(*task.Info.Entity).(*simulator.VirtualMachine); ok {
		// The method that made the task holds the VM's lock.
		task.Info.EntityName = vm.Name
		if vm.Config != nil {
			entry.VM, entry.UUID = vm.Name, vm.Config.Uuid
		}
	}
	i.mu.Lock()
	i.underway[task.Self] = entry
	i.mu.Unlock()
}

// taskChanged puts a task into the log when it has succeeded.
func (i *inventory) taskChanged(task *mo.Task) {
	succeeded := task.Info.State == types.TaskInfoStateSuccess
	if !succeeded && task.Info.State != types.TaskInfoStateError {
		return
	}
	i.mu.Lock()
	entry, ok := i.underway[task.Self]
	delete(i.underway, task.Self)
	i.mu.Unlock()
	if !ok || !succeeded {
		return
	}
	if made, ok := task.Info.Result.(types.ManagedObjectReference); ok {
		// Nobody else knows the new VM before its task has ended, so it is read without its lock.
		if vm, ok := i.registry.Get(made).(*simulator.VirtualMachine); ok && vm.Config != nil {
			entry = operation{Operation: "create", VM: vm.Name, UUID: vm.Config.Uuid}
		}
	}
	if entry.Operation != "" {
		i.record(entry)
	}
}

func (i *inventory) record(entry operation) {
	i.mu.Lock()
	if len(i.operations) >= maxOperations {
		i.operations = i.operations[1:]
	}
	i.sequence++
	entry.Sequence, entry.Time = i.sequence, time.Now().UTC()
	i.operations = append(i.operations, entry)
	i.mu.Unlock()
}

// before is called ahead of every method. It refuses the logins that need no password and what the user's role does not
// allow, injects faults, and lets the guest of a VM decide about its shutdown.
func (i *inventory) before(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	i.delay(method.Name)
	switch method.Name {
	case "LoginByToken", "LoginExtensionByCertificate", "LoginBySSPI":
		return nil, new(types.InvalidLogin) // the simulator takes any token
	case "Fetch", "RetrieveProperties", "RetrievePropertiesEx":
		if ctx.Session == nil && !aboutService(method) {
			return nil, &types.NotAuthenticated{NoPermission: types.NoPermission{
				Object: &method.This, PrivilegeId: "System.View",
			}}
		}
	}
	if refused := i.refuses(ctx, method); refused != nil {
		return nil, refused
	}
	switch object := i.registry.Get(method.This).(type) {
	case *simulator.VirtualMachine:
		var name string
		ctx.WithLock(object, func() { name = object.Name })
		if failure, fails := i.takeFault(method.Name, name); fails {
			return instead(ctx, &failingVM{VirtualMachine: object, failure: failure}), nil
		}
		if refusal := i.needsPowerOff(ctx, object, method); refusal != "" {
			return instead(ctx, &failingVM{VirtualMachine: object, failure: fault{Message: refusal}}), nil
		}
		if method.Name == "PowerOnVM_Task" {
			if refusal := i.place(object); refusal != "" {
				return instead(ctx, &failingVM{VirtualMachine: object, failure: fault{Message: refusal}}), nil
			}
		}
		if method.Name == "RebootGuest" || method.Name == "ShutdownGuest" && i.guests == guestsAgent {
			return instead(ctx, &askedVM{VirtualMachine: object, inventory: i}), nil
		}
	case *simulator.ClusterComputeResource:
		if failure, fails := i.takeFault(method.Name, ""); fails {
			return instead(ctx, &failingCluster{ClusterComputeResource: object, failure: failure}), nil
		}
	}
	return nil, nil
}

// instead makes one request see another object than the registry's. The simulator prefers what the session knows to what a
// handler returns, and each request has a copy of its session.
func instead(ctx *simulator.Context, object mo.Reference) mo.Reference {
	if ctx.Session != nil {
		own := simulator.NewRegistry()
		ctx.WithLock(object, func() { own.Put(object) })
		ctx.Session.Registry = own
	}
	return object
}

// aboutService returns whether a request reads nothing but the service instance, which a real vCenter shows to everybody.
func aboutService(method *simulator.Method) bool {
	var specs []types.PropertyFilterSpec
	switch body := method.Body.(type) {
	case *types.RetrieveProperties:
		specs = body.SpecSet
	case *types.RetrievePropertiesEx:
		specs = body.SpecSet
	default: // Fetch, whose type is not public; its receiver is by now the property collector, the object is in the body
		this, ok := reflect.Indirect(reflect.ValueOf(method.Body)).FieldByName("This").Interface().(types.ManagedObjectReference)
		return ok && this.Type == serviceInstance
	}
	for _, spec := range specs {
		for _, object := range spec.ObjectSet {
			if object.Obj.Type != serviceInstance || len(object.SelectSet) > 0 {
				return false
			}
		}
	}
	return true
}

// askedVM is a VM whose guest is asked to do something. The answer comes at once, as on a real vCenter; with an agent
// the power state stays as it is until the agent reports what the guest did.
type askedVM struct {
	*simulator.VirtualMachine
	inventory *inventory
}

func (vm *askedVM) ShutdownGuest(ctx *simulator.Context, _ *types.ShutdownGuest) soap.HasFault {
	body := new(methods.ShutdownGuestBody)
	if body.Fault_ = vm.ask(ctx, pendingShutdown); body.Fault_ == nil {
		body.Res = new(types.ShutdownGuestResponse)
	}
	return body
}

func (vm *askedVM) RebootGuest(ctx *simulator.Context, _ *types.RebootGuest) soap.HasFault {
	body := new(methods.RebootGuestBody)
	if body.Fault_ = vm.ask(ctx, pendingReboot); body.Fault_ == nil {
		body.Res = new(types.RebootGuestResponse)
	}
	return body
}

func (vm *askedVM) ask(ctx *simulator.Context, what string) *soap.Fault {
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return simulator.Fault("The virtual machine is not powered on.", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: vm.Runtime.PowerState,
		})
	}
	if vm.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return simulator.Fault("VMware Tools is not running in this virtual machine.", new(types.ToolsUnavailable))
	}
	i := vm.inventory
	i.record(operation{Operation: what, VM: vm.Name, UUID: vm.Config.Uuid})
	event := vmEvent(&vm.VirtualMachine.VirtualMachine)
	if what == pendingShutdown {
		i.post(ctx, &types.VmGuestShutdownEvent{VmEvent: event})
	} else {
		i.post(ctx, &types.VmGuestRebootEvent{VmEvent: event})
	}
	i.mu.Lock()
	if m, ok := i.machines[vm.Self]; ok {
		if i.guests == guestsAgent {
			m.pending = what
		} else {
			m.boots++ // only a reboot comes here without an agent, and nothing of the guest changes by it
		}
	}
	i.mu.Unlock()
	i.touch()
	return nil
}

// poweredOff is what the simulator does when a guest has shut itself down. The VM's lock is held on behalf of ctx.
func (i *inventory) poweredOff(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	i.registry.Update(ctx, vm, []types.PropertyChange{
		{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
		{Name: "summary.runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
	})
	i.post(ctx, &types.VmPoweredOffEvent{VmEvent: vmEvent(&vm.VirtualMachine)})
}

func vmEvent(vm *mo.VirtualMachine) types.VmEvent {
	return types.VmEvent{Event: types.Event{Vm: &types.VmEventArgument{
		EntityEventArgument: types.EntityEventArgument{Name: vm.Name}, Vm: vm.Self,
	}}}
}

func (i *inventory) post(ctx *simulator.Context, event types.BaseEvent) {
	manager := i.registry.EventManager()
	ctx.WithLock(manager, func() { manager.PostEvent(ctx, &types.PostEvent{EventToPost: event}) })
}
