// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/podlv/podlv/sim/scenario"
)

// verbs are the lvm commands that an agent runs: all, or those that change something.
func verbs(all bool) []string {
	writing := []string{"lvcreate", "lvextend", "lvchange", "lvremove"}
	if all {
		return append(writing, "fullreport")
	}
	return writing
}

// KillAgent ends the agent in the middle of what it does; StartAgent starts it again.
// Neither does anything to one that is dead, or runs, or whose machine has no power.
func (n *Node) KillAgent() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.killAgent()
}

func (n *Node) killAgent() {
	if a := n.agent.Swap(nil); a != nil {
		a.kill()
	}
}

// StartAgent starts the agent again.
func (n *Node) StartAgent() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.off || n.agent.Load() != nil {
		return nil
	}
	return n.startAgent()
}

// StopKubelet ends kubelet, which leaves everything where it is; StartKubelet starts it
// again.
func (n *Node) StopKubelet() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopKubelet()
}

func (n *Node) stopKubelet() {
	if n.kubelet != nil {
		n.kubelet.end()
		n.kubelet = nil
	}
}

// StartKubelet starts kubelet again.
func (n *Node) StartKubelet(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.off || n.kubelet != nil {
		return nil
	}
	return n.startKubelet(ctx)
}

// PowerOff takes the machine's power away, PowerOn gives it back: nothing is mounted
// then, and agent and kubelet begin anew.
func (n *Node) PowerOff() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off = true
	n.killAgent()
	n.stopKubelet()
	n.Host.Reboot() // what runs on it ends now; that it does not run until PowerOn nobody can see
}

// PowerOn gives the power back.
func (n *Node) PowerOn(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.off {
		return nil
	}
	n.off = false
	if err := n.startKubelet(ctx); err != nil {
		return err
	}
	return n.startAgent()
}

// Off says whether the machine has no power, or no agent, so that nobody can keep what is
// published of it up to date.
func (n *Node) Off() bool { return n.agent.Load() == nil }

// Slow makes every lvm command of the machine take longer; 0 ends that.
func (n *Node) Slow(d time.Duration) {
	for _, v := range verbs(true) {
		n.Host.Delay(v, d)
	}
}

// Hang makes the next lvm command that writes hang, of each kind, until release is called.
func (n *Node) Hang() (release func()) {
	var releases []func()
	for _, v := range verbs(false) {
		releases = append(releases, n.Host.Hang(v))
	}
	return func() {
		for _, r := range releases {
			r()
		}
	}
}

// Lag makes the agent and the kubelet hear so much later of what happens in the cluster;
// 0 ends that.
func (n *Node) Lag(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lag = d
	if a := n.agent.Load(); a != nil {
		a.view.Delay(d)
	}
	if n.kubelet != nil {
		n.kubelet.view.Delay(d)
	}
}

// TakeDisk takes a disk of a VG away, counted from 0 as the scenario lists them;
// ReturnDisk brings it back as it was.
func (n *Node) TakeDisk(vg string, disk int) error {
	path, err := n.disk(vg, disk)
	if err != nil {
		return err
	}
	return n.Host.TakeDisk(path)
}

// ReturnDisk brings a disk back.
func (n *Node) ReturnDisk(vg string, disk int) error {
	path, err := n.disk(vg, disk)
	if err != nil {
		return err
	}
	return n.Host.ReturnDisk(path)
}

// disk is the path of a disk: they are numbered through all VGs (newHost).
func (n *Node) disk(vg string, disk int) (string, error) {
	before := 0
	for _, v := range n.group.VolumeGroups {
		if v.Name == vg {
			return diskPath(before + disk), nil
		}
		before += disksOf(v)
	}
	return "", fmt.Errorf("node %s has no VG %s", n.Name, vg)
}

func disksOf(v scenario.VolumeGroup) int { return max(len(v.Disks), 1) }

func diskPath(n int) string { return fmt.Sprintf("/dev/fake%d", n) }
