package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// fault is an injected failure of one method, or with a delay its slowness: then it is answered late, and well.
type fault struct {
	Method  string  `json:"method"`
	VM      string  `json:"vm"`
	Times   int     `json:"times"`
	Message string  `json:"message"`
	Delay   float64 `json:"delay"`
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

// task makes a task that has failed. The simulator's own tasks have the type of a fault where the message belongs.
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

// check returns what is wrong with a wanted fault.
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
