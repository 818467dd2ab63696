package main

import (
	"fmt"
	"net/netip"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// guestReport is what VMware Tools would report about a guest.
type guestReport struct {
	Hostname  string   `json:"hostname"`
	Tools     bool     `json:"tools"`
	Addresses []string `json:"addresses"` // with prefix length, the first is the primary one
	Gateway   string   `json:"gateway"`
	MAC       string   `json:"mac"` // empty: that of the VM's first network card
}

// check returns what is wrong with a report that an agent has sent.
func (g guestReport) check() error {
	for _, text := range g.Addresses {
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("addresses: %q is no address with a prefix length", text)
		}
	}
	if g.Gateway != "" {
		if _, err := netip.ParseAddr(g.Gateway); err != nil {
			return fmt.Errorf("gateway: %q is no address", g.Gateway)
		}
	}
	return nil
}

// reportChanges are the properties that a report sets, or clears where the guest reports nothing. The default route comes
// before the address: the provider's wait looks at them in the order of their arrival.
func reportChanges(vm *mo.VirtualMachine, guest guestReport) []types.PropertyChange {
	running := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	status, state := types.VirtualMachineToolsStatusToolsNotRunning, types.VirtualMachineGuestStateNotRunning
	if guest.Tools {
		running = types.VirtualMachineToolsRunningStatusGuestToolsRunning
		status, state = types.VirtualMachineToolsStatusToolsOk, types.VirtualMachineGuestStateRunning
	}
	return []types.PropertyChange{
		{Name: "guest.toolsRunningStatus", Val: string(running)},
		{Name: "summary.guest.toolsRunningStatus", Val: string(running)},
		{Name: "guest.toolsStatus", Val: status},
		{Name: "guest.guestState", Val: string(state)},
		{Name: "guest.hostName", Val: guest.Hostname},
		{Name: "summary.guest.hostName", Val: guest.Hostname},
		{Name: "guest.ipStack", Val: ipStack(guest)},
		{Name: "guest.net", Val: nics(vm, guest)},
		{Name: "guest.ipAddress", Val: primary(guest)},
		{Name: "summary.guest.ipAddress", Val: primary(guest)},
	}
}

func ipStack(guest guestReport) []types.GuestStackInfo {
	gateway, err := netip.ParseAddr(guest.Gateway)
	if err != nil {
		return nil
	}
	network := "0.0.0.0"
	if gateway.Is6() {
		network = "::"
	}
	return []types.GuestStackInfo{{
		DnsConfig: &types.NetDnsConfigInfo{HostName: guest.Hostname},
		IpRouteConfig: &types.NetIpRouteConfigInfo{IpRoute: []types.NetIpRouteConfigInfoIpRoute{{
			Network: network,
			Gateway: types.NetIpRouteConfigInfoGateway{IpAddress: gateway.String(), Device: "0"},
		}}},
	}}
}

// nics is the VM's first network card with the guest's addresses on it.
func nics(vm *mo.VirtualMachine, guest guestReport) []types.GuestNicInfo {
	card := types.GuestNicInfo{Connected: guest.Tools, MacAddress: guest.MAC, DeviceConfigId: -1}
	if vm.Config != nil {
		for _, device := range vm.Config.Hardware.Device {
			ethernet, ok := device.(types.BaseVirtualEthernetCard)
			if !ok {
				continue
			}
			card.DeviceConfigId = ethernet.GetVirtualEthernetCard().Key
			if card.MacAddress == "" {
				card.MacAddress = ethernet.GetVirtualEthernetCard().MacAddress
			}
			break
		}
	}
	for _, text := range guest.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		if card.IpConfig == nil {
			card.IpConfig = new(types.NetIpConfigInfo)
		}
		card.IpAddress = append(card.IpAddress, prefix.Addr().String())
		card.IpConfig.IpAddress = append(card.IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{
			IpAddress:    prefix.Addr().String(),
			PrefixLength: int32(prefix.Bits()),
			State:        string(types.NetIpConfigInfoIpAddressStatusPreferred),
		})
	}
	return []types.GuestNicInfo{card}
}

func primary(guest guestReport) string {
	for _, text := range guest.Addresses {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return prefix.Addr().String()
		}
	}
	return ""
}
