package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// needsPowerOff returns why a virtual machine that runs cannot be changed like this, in vCenter's words: CPUs and memory
// without their hot add. The simulator changes them all the same.
func (i *inventory) needsPowerOff(ctx *simulator.Context, vm *simulator.VirtualMachine, method *simulator.Method) string {
	asked, ok := method.Body.(*types.ReconfigVM_Task)
	if !ok {
		return ""
	}
	refusal := ""
	ctx.WithLock(vm, func() {
		if vm.Config == nil || vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			return
		}
		on := func(flag *bool) bool { return flag != nil && *flag }
		cpus, memory := asked.Spec.NumCPUs, asked.Spec.MemoryMB
		switch {
		case cpus != 0 && cpus != vm.Config.Hardware.NumCPU && !on(vm.Config.CpuHotAddEnabled):
			refusal = "CPU hot plug is not supported for this virtual machine."
		case memory != 0 && memory != int64(vm.Config.Hardware.MemoryMB) && !on(vm.Config.MemoryHotAddEnabled):
			refusal = "Memory hot plug is not supported for this virtual machine."
		}
	})
	return refusal
}
