// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/sim/fakemount"
)

// errDead is what a process gets that has been killed. A real one sees nothing any more.
var errDead = errors.New("this process was killed")

// machine is a fake machine as one process sees it: when that is dead, it does nothing
// to the machine any more.
type machine struct {
	fakemount.Fake
	host *fakelvm.Host
	dead chan struct{} // closed when it is
}

func (m *machine) alive() error {
	select {
	case <-m.dead:
		return errDead
	default:
		return nil
	}
}

// Run implements lvm.Runner. A command that was begun goes on when the process dies.
func (m *machine) Run(ctx context.Context, args ...string) ([]byte, error) {
	if err := m.alive(); err != nil {
		return nil, err
	}
	type answer struct {
		out []byte
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		out, err := m.host.Run(ctx, args...)
		answers <- answer{out, err}
	}()
	select {
	case a := <-answers:
		return a.out, a.err
	case <-m.dead:
		return nil, errDead
	}
}

// Mount implements driver.Mounter.
func (m *machine) Mount(device, target, fstype string, options []string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Mount(device, target, fstype, options)
}

// Unmount implements driver.Mounter.
func (m *machine) Unmount(target string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Unmount(target)
}

// MakeTarget implements driver.Mounter.
func (m *machine) MakeTarget(target string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.MakeTarget(target)
}

// MakeTargetFile implements driver.Mounter.
func (m *machine) MakeTargetFile(target string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.MakeTargetFile(target)
}

// RemoveTarget implements driver.Mounter.
func (m *machine) RemoveTarget(target string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.RemoveTarget(target)
}

// Zero implements driver.Devices.
func (m *machine) Zero(ctx context.Context, device string, offset, length int64) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Zero(ctx, device, offset, length)
}

// Copy implements driver.Devices.
func (m *machine) Copy(ctx context.Context, from, to string, length int64, sparse bool) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Copy(ctx, from, to, length, sparse)
}

// Make implements driver.Filesystem.
func (m *machine) Make(device string, format driver.Format) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Make(device, format)
}

// Wipe implements driver.Filesystem.
func (m *machine) Wipe(device string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Wipe(device)
}

// Grow implements driver.Filesystem.
func (m *machine) Grow(device, target, fstype string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Grow(device, target, fstype)
}

// Adopt implements driver.Filesystem.
func (m *machine) Adopt(ctx context.Context, device string, format driver.Format) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Fake.Adopt(ctx, device, format)
}
