package main

import (
	"fmt"
	"reflect"
	"time"

	"github.com/google/uuid"
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

// fault is an injected failure of one method, or with a delay its slowness: then it is answered late, and well.
type fault struct {
	Method  string  `json:"method"`
	VM      string  `json:"vm"`
	Times   int     `json:"times"`
	Message string  `json:"message"`
	Delay   float64 `json:"delay"`
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

// before is called ahead of every method. It refuses the logins that need no password, injects faults, and lets the guest
// of a VM decide about its shutdown.
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
	switch object := i.registry.Get(method.This).(type) {
	case *simulator.VirtualMachine:
		var name string
		ctx.WithLock(object, func() { name = object.Name })
		if failure, fails := i.takeFault(method.Name, name); fails {
			return instead(ctx, &failingVM{VirtualMachine: object, failure: failure}), nil
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

// aboutService tells whether a request reads nothing but the service instance, which a real vCenter shows to everybody.
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

// canFail are the methods that can be made to fail.
var canFail = map[string]bool{
	"PowerOnVM_Task": true, "PowerOffVM_Task": true, "ReconfigVM_Task": true, "Destroy_Task": true, "ResetVM_Task": true,
	"ShutdownGuest": true, "RebootGuest": true,
	"ReconfigureComputeResource_Task": true,
}

func (i *inventory) takeFault(method, vm string) (fault, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, candidate := range i.faults {
		if candidate.Delay == 0 && candidate.Times > 0 && candidate.Method == method &&
			(candidate.VM == "" || candidate.VM == vm) {
			candidate.Times--
			return *candidate, true
		}
	}
	return fault{}, false
}

// delay keeps a call waiting where that is wanted. No lock is held meanwhile: only this call is slow.
func (i *inventory) delay(method string) {
	i.mu.Lock()
	seconds := 0.0
	for _, candidate := range i.faults {
		if candidate.Delay > 0 && candidate.Times > 0 && candidate.Method == method {
			candidate.Times--
			seconds = candidate.Delay
			break
		}
	}
	i.mu.Unlock()
	time.Sleep(time.Duration(seconds * float64(time.Second)))
}

// vimFault is what a failing method answers: a message, in the way of vCenter's "General system error".
func (f fault) vimFault() types.BaseMethodFault {
	return &types.SystemError{Reason: f.Message}
}

func (f fault) soapFault() *soap.Fault {
	return simulator.Fault(f.Message, f.vimFault())
}

// task makes a task that has failed. The simulator's own tasks say the type of a fault where the message belongs.
func (f fault) task(ctx *simulator.Context, entity mo.Reference, name string) types.ManagedObjectReference {
	task := simulator.CreateTask(entity, name, nil)
	task.Self = types.ManagedObjectReference{Type: "Task", Value: "task-" + uuid.NewString()}
	now := time.Now()
	task.Info.Key, task.Info.Task = task.Self.Value, task.Self
	task.Info.StartTime, task.Info.State = &now, types.TaskInfoStateRunning
	ctx.Map.Put(task)
	ctx.Map.AtomicUpdate(ctx, task, []types.PropertyChange{
		{Name: "info.completeTime", Val: time.Now()},
		{Name: "info.error", Val: types.LocalizedMethodFault{Fault: f.vimFault(), LocalizedMessage: f.Message}},
		{Name: "info.state", Val: types.TaskInfoStateError},
	})
	return task.Self
}

// failingVM is a VM for one method that fails.
type failingVM struct {
	*simulator.VirtualMachine
	failure fault
}

func (vm *failingVM) PowerOnVMTask(ctx *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	return &methods.PowerOnVM_TaskBody{
		Res: &types.PowerOnVM_TaskResponse{Returnval: vm.failure.task(ctx, vm, "powerOn")},
	}
}

func (vm *failingVM) PowerOffVMTask(ctx *simulator.Context, _ *types.PowerOffVM_Task) soap.HasFault {
	return &methods.PowerOffVM_TaskBody{
		Res: &types.PowerOffVM_TaskResponse{Returnval: vm.failure.task(ctx, vm, "powerOff")},
	}
}

func (vm *failingVM) ReconfigVMTask(ctx *simulator.Context, _ *types.ReconfigVM_Task) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{
		Res: &types.ReconfigVM_TaskResponse{Returnval: vm.failure.task(ctx, vm, "reconfigVm")},
	}
}

func (vm *failingVM) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	return &methods.Destroy_TaskBody{
		Res: &types.Destroy_TaskResponse{Returnval: vm.failure.task(ctx, vm, "destroy")},
	}
}

func (vm *failingVM) ResetVMTask(ctx *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	return &methods.ResetVM_TaskBody{
		Res: &types.ResetVM_TaskResponse{Returnval: vm.failure.task(ctx, vm, "reset")},
	}
}

func (vm *failingVM) ShutdownGuest(*simulator.Context, *types.ShutdownGuest) soap.HasFault {
	return &methods.ShutdownGuestBody{Fault_: vm.failure.soapFault()}
}

func (vm *failingVM) RebootGuest(*simulator.Context, *types.RebootGuest) soap.HasFault {
	return &methods.RebootGuestBody{Fault_: vm.failure.soapFault()}
}

// failingCluster is a cluster whose configuration, rules included, cannot be changed this time.
type failingCluster struct {
	*simulator.ClusterComputeResource
	failure fault
}

func (c *failingCluster) ReconfigureComputeResourceTask(
	ctx *simulator.Context, _ *types.ReconfigureComputeResource_Task,
) soap.HasFault {
	return &methods.ReconfigureComputeResource_TaskBody{
		Res: &types.ReconfigureComputeResource_TaskResponse{
			Returnval: c.failure.task(ctx, c, "reconfigureCluster"),
		},
	}
}

// askedVM is a VM whose guest is asked to do something. The answer comes at once, as on a real vCenter; with an agent
// the power state stays as it is until the agent says what the guest did.
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

// check says what is wrong with a wanted fault.
func (f fault) check() error {
	if f.Delay != 0 {
		if !(f.Delay > 0 && f.Delay <= maxDelay) || f.VM != "" || f.Method == "" {
			return fmt.Errorf("delay: more than 0 and at most %d seconds, for a method and no VM", maxDelay)
		}
	} else if !canFail[f.Method] {
		return fmt.Errorf("method: %q cannot be made to fail here", f.Method)
	}
	if f.Times < 1 {
		return fmt.Errorf("times: %d is not positive", f.Times)
	}
	return nil
}
