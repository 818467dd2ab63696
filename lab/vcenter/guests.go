package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/netip"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"gopkg.in/yaml.v3"
)

const (
	guestinfoPrefix = "guestinfo."
	// networkFile is where Photon OS 3.0 gets its static address from.
	networkFile = "/etc/systemd/network/10-static-en.network"
	// maxDocument bounds what a compressed value may unpack to; a real one is below 1 MiB.
	maxDocument = 8 << 20
)

// guestReport is what VMware Tools would tell about a guest; without addresses there is none.
type guestReport struct {
	Hostname  string   `json:"hostname"`
	Tools     bool     `json:"tools"`
	Addresses []string `json:"addresses"` // with prefix length, the first is the primary one
	Gateway   string   `json:"gateway"`
	MAC       string   `json:"mac"`
}

// guestinfo returns the guestinfo keys of a VM.
func guestinfo(vm *simulator.VirtualMachine) map[string]string {
	found := map[string]string{}
	for _, option := range vm.Config.ExtraConfig {
		value := option.GetOptionValue()
		if text, ok := value.Value.(string); ok && strings.HasPrefix(value.Key, guestinfoPrefix) && text != "" {
			found[value.Key] = text
		}
	}
	return found
}

// report sets what the guest tells, or clears it. The default route comes first: the provider's wait looks at changes in
// the order of their arrival and needs the gateway before the address.
func (i *inventory) report(vm *simulator.VirtualMachine, guest guestReport) {
	status := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	if guest.Tools {
		status = types.VirtualMachineToolsRunningStatusGuestToolsRunning
	}
	registry := simulator.Map(i.ctx)
	registry.AtomicUpdate(i.ctx, vm, []types.PropertyChange{
		{Name: "guest.toolsRunningStatus", Val: string(status)},
		{Name: "summary.guest.toolsRunningStatus", Val: string(status)},
		{Name: "guest.hostName", Val: guest.Hostname},
		{Name: "guest.ipStack", Val: ipStack(guest)},
	})
	registry.AtomicUpdate(i.ctx, vm, []types.PropertyChange{
		{Name: "guest.net", Val: nics(vm, guest)},
		{Name: "guest.ipAddress", Val: primary(guest)},
		{Name: "summary.guest.ipAddress", Val: primary(guest)},
	})
}

func ipStack(guest guestReport) []types.GuestStackInfo {
	if guest.Gateway == "" {
		return nil
	}
	return []types.GuestStackInfo{{
		DnsConfig: &types.NetDnsConfigInfo{HostName: guest.Hostname},
		IpRouteConfig: &types.NetIpRouteConfigInfo{IpRoute: []types.NetIpRouteConfigInfoIpRoute{{
			Network: "0.0.0.0", PrefixLength: 0,
			Gateway: types.NetIpRouteConfigInfoGateway{IpAddress: guest.Gateway, Device: "0"},
		}}},
	}}
}

func nics(vm *simulator.VirtualMachine, guest guestReport) []types.GuestNicInfo {
	card := types.GuestNicInfo{Connected: guest.Tools, MacAddress: guest.MAC, DeviceConfigId: -1}
	for _, device := range vm.Config.Hardware.Device {
		if ethernet, ok := device.(types.BaseVirtualEthernetCard); ok {
			card.DeviceConfigId = ethernet.GetVirtualEthernetCard().Key
			if card.MacAddress == "" {
				card.MacAddress = ethernet.GetVirtualEthernetCard().MacAddress
			}
			break
		}
	}
	var addresses []types.NetIpConfigInfoIpAddress
	for _, text := range guest.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		card.IpAddress = append(card.IpAddress, prefix.Addr().String())
		addresses = append(addresses, types.NetIpConfigInfoIpAddress{
			IpAddress: prefix.Addr().String(), PrefixLength: int32(prefix.Bits()), State: "preferred",
		})
	}
	if addresses != nil {
		card.IpConfig = &types.NetIpConfigInfo{IpAddress: addresses}
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

// fromGuestinfo finds the address that a guest with this guestinfo would give itself. A VM without one reports nothing:
// on a real vCenter it would come up without an address too.
func fromGuestinfo(values map[string]string) guestReport {
	var metadata struct {
		Hostname string    `yaml:"local-hostname"`
		Network  yaml.Node `yaml:"network"`
	}
	_ = yaml.Unmarshal(decode(values, "metadata"), &metadata)
	var userdata struct {
		Files []struct {
			Path    string `yaml:"path"`
			Content string `yaml:"content"`
		} `yaml:"write_files"`
	}
	_ = yaml.Unmarshal(decode(values, "userdata"), &userdata)

	guest := guestReport{Hostname: metadata.Hostname}
	guest.Addresses, guest.Gateway = fromNetworkConfig(metadata.Network)
	for _, file := range userdata.Files {
		if strings.HasSuffix(file.Path, networkFile) {
			guest.Addresses, guest.Gateway = fromNetworkFile(file.Content)
		}
	}
	guest.Tools = len(guest.Addresses) > 0
	if !guest.Tools {
		return guestReport{}
	}
	return guest
}

// decode undoes the encodings that cloud-init's VMware data source knows; what is broken is empty.
func decode(values map[string]string, key string) []byte {
	text := values[guestinfoPrefix+key]
	switch values[guestinfoPrefix+key+".encoding"] {
	case "base64", "b64":
		raw, _ := base64.StdEncoding.DecodeString(text)
		return raw
	case "gzip+base64", "gz+b64":
		raw, _ := base64.StdEncoding.DecodeString(text)
		reader, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil
		}
		unpacked, err := io.ReadAll(io.LimitReader(reader, maxDocument))
		if err != nil {
			return nil
		}
		return unpacked
	default:
		return []byte(text)
	}
}

// fromNetworkConfig reads version 2 network configuration, as a mapping or as text.
func fromNetworkConfig(node yaml.Node) (addresses []string, gateway string) {
	var config struct {
		Ethernets map[string]struct {
			Addresses []string `yaml:"addresses"`
			Gateway4  string   `yaml:"gateway4"`
			Routes    []struct {
				To  string `yaml:"to"`
				Via string `yaml:"via"`
			} `yaml:"routes"`
		} `yaml:"ethernets"`
	}
	if node.Kind == yaml.ScalarNode {
		_ = yaml.Unmarshal([]byte(node.Value), &config)
	} else if node.Kind == yaml.MappingNode {
		_ = node.Decode(&config)
	}
	for _, ethernet := range config.Ethernets {
		addresses, gateway = append(addresses, valid(ethernet.Addresses)...), ethernet.Gateway4
		for _, route := range ethernet.Routes {
			if route.To == "0.0.0.0/0" || route.To == "default" {
				gateway = route.Via
			}
		}
	}
	return addresses, gateway
}

// fromNetworkFile reads a systemd .network file.
func fromNetworkFile(content string) (addresses []string, gateway string) {
	for line := range strings.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "Address":
			addresses = append(addresses, valid([]string{value})...)
		case "Gateway":
			gateway = value
		}
	}
	return addresses, gateway
}

func valid(texts []string) (prefixes []string) {
	for _, text := range texts {
		if _, err := netip.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, text)
		}
	}
	return prefixes
}
