package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// datastoresPerHost is how many each host has: one to be made on, one to be moved to.
const datastoresPerHost = 2

// moved completes what the simulator leaves undone when a VM moves to another datastore: its files and their names. The
// VM's lock is held on behalf of ctx.
func (i *inventory) moved(ctx *simulator.Context, vm *mo.VirtualMachine) {
	if vm.Config == nil || len(vm.Datastore) == 0 {
		return
	}
	target, ok := i.registry.Get(vm.Datastore[0]).(*simulator.Datastore)
	var from object.DatastorePath
	if !ok || !from.FromString(vm.Config.Files.VmPathName) || from.Datastore == target.Name {
		return
	}
	for _, entity := range i.registry.All("Datastore") {
		if source, is := entity.(*simulator.Datastore); is && source.Name == from.Datastore {
			folder := filepath.Dir(from.Path)
			_ = os.Rename(filepath.Join(source.Summary.Url, folder), filepath.Join(target.Summary.Url, folder))
		}
	}
	rename := func(path string) string {
		return strings.Replace(path, "["+from.Datastore+"]", "["+target.Name+"]", 1)
	}
	files := vm.Config.Files
	for _, path := range []*string{&files.VmPathName, &files.SnapshotDirectory, &files.SuspendDirectory, &files.LogDirectory} {
		*path = rename(*path)
	}
	for _, device := range vm.Config.Hardware.Device {
		if backing, is := device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo); is {
			backing.FileName, backing.Datastore = rename(backing.FileName), &target.Self
		}
	}
	i.registry.Update(ctx, vm, []types.PropertyChange{
		{Name: "config.files", Val: files},
		{Name: "summary.config.vmPathName", Val: files.VmPathName},
	})
}
