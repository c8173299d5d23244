// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// The addresses of doc.go.
const (
	bridge       = "podlv0"
	hostIP       = "10.77.0.1"
	serviceIP    = "10.96.0.1"
	serviceRange = "10.96.0.0/16"
	apiPort      = "443" // as the Service has it
	agentPort    = "9000"
)

// maxNodes keeps 10.77.0.10+N an address.
const maxNodes = 200

func nodeIP(n int) string  { return netip.AddrFrom4([4]byte{10, 77, 0, byte(10 + n)}).String() }
func podCIDR(n int) string { return fmt.Sprintf("10.78.%d.0/24", n) }
func tap(n int) string     { return fmt.Sprintf("tap%d", n) }

// makeNetwork makes the host side: the bridge, the addresses, a tap and a route for
// each node.
func makeNetwork(ctx context.Context, nodes int) error {
	commands := []string{
		"link add " + bridge + " type bridge",
		"addr add " + hostIP + "/24 dev " + bridge,
		// One packet at a time: User-Mode Linux drops what is longer than a frame, and
		// the host sends it again only after a fifth of a second.
		"link set " + bridge + " gso_max_segs 1",
		"link set " + bridge + " up",
		"addr add " + serviceIP + "/32 dev lo",
	}
	for n := 1; n <= nodes; n++ {
		commands = append(commands,
			"tuntap add "+tap(n)+" mode tap",
			"link set "+tap(n)+" master "+bridge,
			"link set "+tap(n)+" gso_max_segs 1",
			"link set "+tap(n)+" up",
			"route add "+podCIDR(n)+" via "+nodeIP(n))
	}
	for _, c := range commands {
		if err := ip(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// ip runs ip(8).
func ip(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}
