package main

import (
	"reflect"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// The table of what needs which privilege, after "Required Privileges" of the vSphere Web Services API reference and of the
// tagging and OVF services' reference. It is stricter than a vCenter in one point: a field of a reconfiguration needs its
// privilege whenever it is sent, also where nothing changes by it. Whether a vCenter looks at that differs from build to
// build (swapPlacement is the known case), and the role has to be enough for all of them.
//
// What is not in it is refused too, so that nothing new slips through: a method, a field, a path.

// free is what everybody may do who may log in and read (System.Anonymous, System.View, System.Read).
const free = ""

// unknown stands for what is not in the table; it is in no role.
func unknown(what string) string {
	return what + " is not in the table of lab/vcenter/simulator/needs.go"
}

const (
	allocateSpace = "Datastore.AllocateSpace"
	assignNetwork = "Network.Assign"
	assignPool    = "Resource.AssignVMToPool"
	settings      = "VirtualMachine.Config.Settings"
	resources     = "VirtualMachine.Config.Resource"
	addDisk       = "VirtualMachine.Config.AddNewDisk"
	addDevice     = "VirtualMachine.Config.AddRemoveDevice"
	editDevice    = "VirtualMachine.Config.EditDevice"
	powerOff      = "VirtualMachine.Interact.PowerOff"
	reset         = "VirtualMachine.Interact.Reset"
	setField      = "Global.SetCustomField"
	viewPolicies  = "StorageProfile.View" // for every question to the service of storage policies
)

// methodNeeds are the methods that need the same privileges whatever they are given.
var methodNeeds = map[string][]string{
	"VirtualMachine.PowerOnVM_Task":                               {"VirtualMachine.Interact.PowerOn"},
	"Datacenter.PowerOnMultiVM_Task":                              {"VirtualMachine.Interact.PowerOn"},
	"VirtualMachine.PowerOffVM_Task":                              {powerOff},
	"VirtualMachine.ShutdownGuest":                                {powerOff},
	"VirtualMachine.ResetVM_Task":                                 {reset},
	"VirtualMachine.RebootGuest":                                  {reset},
	"VirtualMachine.SuspendVM_Task":                               {"VirtualMachine.Interact.Suspend"},
	"VirtualMachine.Destroy_Task":                                 {"VirtualMachine.Inventory.Delete"},
	"VirtualMachine.Rename_Task":                                  {"VirtualMachine.Config.Rename"},
	"VirtualMachine.UpgradeVM_Task":                               {"VirtualMachine.Config.UpgradeVirtualHardware"},
	"VirtualMachine.SetCustomValue":                               {setField},
	"CustomFieldsManager.SetField":                                {setField},
	"DistributedVirtualSwitchManager.DVSManagerLookupDvPortGroup": {}, // it only reads
	"CustomFieldsManager.AddCustomFieldDef":                       {"Global.ManageCustomFields"},
	"CustomFieldsManager.RemoveCustomFieldDef":                    {"Global.ManageCustomFields"},
	"Folder.CreateFolder":                                         {"Folder.Create"},
	"Folder.Destroy_Task":                                         {"Folder.Delete"},
	"Folder.Rename_Task":                                          {"Folder.Rename"},
	"ClusterComputeResource.ReconfigureComputeResource_Task":      {"Host.Inventory.EditCluster"},
	"ResourcePool.MoveIntoResourcePool":                           {assignPool},
	"HostDatastoreBrowser.SearchDatastore_Task":                   {"Datastore.Browse"},
	"HostDatastoreBrowser.SearchDatastoreSubFolders_Task":         {"Datastore.Browse"},
}

// readers are the beginnings of methods that only read, or keep something of the session alone.
var readers = []string{
	"Retrieve", "Continue", "WaitFor", "CheckFor", "Cancel", "Fetch", "Query", "Find", "CreateFilter", "CreateContainerView",
	"CreatePropertyCollector", "CreateCollectorForEvents", "ReadNextEvents", "SetCollectorPageSize", "ResetCollector",
	"CreateListView", "ModifyListView", "DestroyView", "DestroyCollector", "DestroyPropertyFilter", "DestroyPropertyCollector",
	"Login", "Logout", "CurrentTime", "SessionIsActive", "HasPrivilege", "HasUserPrivilege",
}

// specNeeds are the fields of ReconfigVM_Task's spec; deviceChange is looked at one by one (deviceNeeds).
var specNeeds = map[string]string{
	"Name":                         "VirtualMachine.Config.Rename",
	"Version":                      "VirtualMachine.Config.UpgradeVirtualHardware",
	"GuestId":                      settings,
	"AlternateGuestName":           settings,
	"Annotation":                   "VirtualMachine.Config.Annotation",
	"Tools":                        settings,
	"Flags":                        settings,
	"PowerOpInfo":                  settings,
	"NumCPUs":                      "VirtualMachine.Config.CPUCount",
	"NumCoresPerSocket":            "VirtualMachine.Config.CPUCount",
	"CpuHotAddEnabled":             "VirtualMachine.Config.CPUCount",
	"CpuHotRemoveEnabled":          "VirtualMachine.Config.CPUCount",
	"MemoryMB":                     "VirtualMachine.Config.Memory",
	"MemoryHotAddEnabled":          "VirtualMachine.Config.Memory",
	"CpuAllocation":                resources,
	"MemoryAllocation":             resources,
	"LatencySensitivity":           resources,
	"MemoryReservationLockedToMax": resources,
	"ExtraConfig":                  "VirtualMachine.Config.AdvancedConfig",
	"SwapPlacement":                "VirtualMachine.Config.SwapPlacement",
	"BootOptions":                  settings,
	"Firmware":                     settings,
	"NestedHVEnabled":              settings,
	"VPMCEnabled":                  settings,
	"SevEnabled":                   settings,
	"MaxMksConnections":            settings,
	"ChangeVersion":                free,
}

// restNeed is what a request of the REST API needs; path is the end of it, {id} stands for one part.
type restNeed struct {
	method, path, action string
	privileges           []string
}

// deployNeeds is a deployment of an OVF template out of a library, with disks and a network card, into a pool.
var deployNeeds = []string{
	"VApp.Import", "VirtualMachine.Inventory.Create", "VirtualMachine.Inventory.CreateFromExisting", addDisk, addDevice,
	assignPool, allocateSpace, assignNetwork,
}

var restNeeds = []restNeed{
	{"POST", "vcenter/ovf/library-item/{id}", "deploy", deployNeeds},
	{"POST", "vcenter/ovf/library-item/{id}", "filter", nil},
	{"POST", "cis/tagging/category", "", []string{"InventoryService.Tagging.CreateCategory"}},
	{"PATCH", "cis/tagging/category/{id}", "", []string{"InventoryService.Tagging.EditCategory"}},
	{"DELETE", "cis/tagging/category/{id}", "", []string{"InventoryService.Tagging.DeleteCategory"}},
	{"POST", "cis/tagging/tag", "", []string{"InventoryService.Tagging.CreateTag"}},
	{"PATCH", "cis/tagging/tag/{id}", "", []string{"InventoryService.Tagging.EditTag"}},
	{"DELETE", "cis/tagging/tag/{id}", "", []string{"InventoryService.Tagging.DeleteTag"}},
	{"POST", "cis/tagging/tag/{id}", "list-tags-for-category", nil},
	{"POST", "cis/tagging/tag-association", "list-attached-tags", nil},
	{"POST", "cis/tagging/tag-association", "list-attached-tags-on-objects", nil},
	{"POST", "cis/tagging/tag-association/{id}", "list-attached-objects", nil},
	{"POST", "cis/tagging/tag-association/{id}", "attach", attachNeeds},
	{"POST", "cis/tagging/tag-association/{id}", "detach", attachNeeds},
	{"POST", "cis/tagging/tag-association/{id}", "attach-tag-to-multiple-objects", attachNeeds},
	{"POST", "cis/tagging/tag-association", "attach-multiple-tags-to-object", attachNeeds},
	{"POST", "cis/tagging/tag-association", "detach-multiple-tags-from-object", attachNeeds},
	{"POST", "content/library", "find", nil},
	{"POST", "content/library/item", "find", nil},
	{"POST", "cis/session", "", nil},
	{"POST", "session", "", nil},
	{"POST", "cis/session", "get", nil},
	{"DELETE", "cis/session", "", nil},
	{"DELETE", "session", "", nil},
}

// attachNeeds are looked for on the tag and on the object, detaching is the same.
var attachNeeds = []string{"InventoryService.Tagging.AttachTag", "InventoryService.Tagging.ObjectAttachable"}

// needs are the privileges that a call of the SOAP API needs.
func needs(object mo.Reference, this types.ManagedObjectReference, method string, body any) []string {
	switch body := body.(type) {
	case *types.ReconfigVM_Task:
		return reconfigureNeeds(body.Spec, machineOf(object))
	case *types.MoveIntoFolder_Task:
		var found []string
		for _, moved := range body.List {
			if moved.Type == "VirtualMachine" {
				found = append(found, "VirtualMachine.Inventory.Move")
			} else {
				found = append(found, "Folder.Move")
			}
		}
		return found
	case *types.RelocateVM_Task:
		found := []string{"Resource.ColdMigrate"}
		if vm := machineOf(object); vm != nil && vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			found = []string{"Resource.HotMigrate"}
		}
		if body.Spec.Pool != nil {
			found = append(found, assignPool)
		}
		if body.Spec.Datastore != nil {
			found = append(found, allocateSpace)
		}
		return found
	}
	if found, ok := methodNeeds[this.Type+"."+method]; ok {
		return found
	}
	for _, reader := range readers {
		if strings.HasPrefix(method, reader) {
			return nil
		}
	}
	return []string{unknown(this.Type + "." + method)}
}

func machineOf(object mo.Reference) *mo.VirtualMachine {
	if vm, ok := object.(*simulator.VirtualMachine); ok {
		return &vm.VirtualMachine
	}
	return nil
}

// reconfigureNeeds goes through the fields that are set. vm is what it is about now; nil where nothing is known of it.
func reconfigureNeeds(spec types.VirtualMachineConfigSpec, vm *mo.VirtualMachine) (found []string) {
	fields := reflect.ValueOf(spec)
	for index := range fields.NumField() {
		name := fields.Type().Field(index).Name
		if fields.Field(index).IsZero() || name == "DynamicData" {
			continue
		}
		if name == "DeviceChange" {
			for _, change := range spec.DeviceChange {
				found = append(found, deviceNeeds(change.GetVirtualDeviceConfigSpec(), vm)...)
			}
			continue
		}
		privilege, known := specNeeds[name]
		if !known {
			privilege = unknown("ReconfigVM_Task." + name)
		}
		if privilege != free {
			found = append(found, privilege)
		}
	}
	return found
}

func deviceNeeds(change *types.VirtualDeviceConfigSpec, vm *mo.VirtualMachine) []string {
	disk, isDisk := change.Device.(*types.VirtualDisk)
	_, isCard := change.Device.(types.BaseVirtualEthernetCard)
	switch change.Operation {
	case types.VirtualDeviceConfigSpecOperationAdd:
		switch {
		case isDisk && change.FileOperation == "":
			return []string{"VirtualMachine.Config.AddExistingDisk"}
		case isDisk:
			return []string{addDisk, allocateSpace}
		case isCard:
			return []string{addDevice, assignNetwork}
		}
		return []string{addDevice}
	case types.VirtualDeviceConfigSpecOperationRemove:
		if isDisk {
			return []string{"VirtualMachine.Config.RemoveDisk"}
		}
		return []string{addDevice}
	case types.VirtualDeviceConfigSpecOperationEdit:
		switch {
		case isDisk && grows(disk, vm):
			return []string{editDevice, "VirtualMachine.Config.DiskExtend", allocateSpace}
		case isCard:
			return []string{editDevice, assignNetwork}
		}
		return []string{editDevice}
	}
	return []string{unknown("a device change of kind " + string(change.Operation))}
}

// grows is whether a disk becomes larger than the one of the same key.
func grows(wanted *types.VirtualDisk, vm *mo.VirtualMachine) bool {
	if vm == nil || vm.Config == nil {
		return false
	}
	for _, device := range vm.Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok && disk.Key == wanted.Key {
			return wanted.CapacityInKB > disk.CapacityInKB || wanted.CapacityInBytes > disk.CapacityInBytes
		}
	}
	return false
}
