// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"k8s.io/client-go/kubernetes"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/podlv/podlv/lvm"
)

// What tests of this package do to an agent that does not Run.

// InProcess is the agent's services without a socket, its interceptor included.
func (d *Driver) InProcess() grpc.ClientConnInterface { return inProcess{d} }

// inProcess is a connection that ends in the same process.
type inProcess struct{ d *Driver }

func (c inProcess) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	for service, desc := range map[any]grpc.ServiceDesc{
		c.d.identity: csi.Identity_ServiceDesc, c.d.control: csi.Controller_ServiceDesc, c.d.node: csi.Node_ServiceDesc,
	} {
		name, ok := strings.CutPrefix(method, "/"+desc.ServiceName+"/")
		if !ok {
			continue
		}
		for _, m := range desc.Methods {
			if m.MethodName != name {
				continue
			}
			decode := func(in any) error { proto.Merge(in.(proto.Message), args.(proto.Message)); return nil }
			out, err := m.Handler(service, ctx, decode, interceptor(c.d.config.Log, c.d.metrics))
			if err == nil {
				proto.Merge(reply.(proto.Message), out.(proto.Message))
			}
			return err
		}
	}
	panic(method + " is not served")
}

func (c inProcess) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	panic("the node service has no streams")
}

// Settle drops the tag of new volumes now.
func (d *Driver) Settle(ctx context.Context) { d.settle.flush(ctx) }

// SettleTask is the task that settles until ctx ends.
func (d *Driver) SettleTask(ctx context.Context) { d.settle.run(ctx) }

// Ready is what /readyz and Probe say.
func (d *Driver) Ready(ctx context.Context) error { return d.identity.prober.ready(ctx) }

// Recover is what a start does about volumes that an earlier agent left.
func (d *Driver) Recover(ctx context.Context) error {
	return d.recover(ctx)
}

// Reap is one pass of the reaper.
func (d *Driver) Reap(ctx context.Context) error { return d.reaper.pass(ctx) }

// Running is how many lvm commands run.
func (d *Driver) Running() int { return len(d.client.Running()) }

// Jobs is how many volumes are being zeroed or copied.
func (d *Driver) Jobs() int {
	jobs := &d.control.persistent.jobs
	jobs.mu.Lock()
	defer jobs.mu.Unlock()
	return len(jobs.jobs)
}

// FilesystemUUID is what tests compare superblocks with.
var FilesystemUUID = filesystemUUID

// Reload looks at the file of classes now.
func (d *Driver) Reload(ctx context.Context) {
	d.config.Classes.reload(ctx, d.client, d.config.Clock, d.config.Log)
}

// KeepSnapshots is one look at thick snapshots, and says whether there are any.
func (d *Driver) KeepSnapshots(ctx context.Context) bool { return d.keeper.pass(ctx) }

// KeepSnapshotsTask is the task that looks at them until ctx ends.
func (d *Driver) KeepSnapshotsTask(ctx context.Context) { d.keeper.run(ctx) }

// Publish is a round of a publisher that knows nothing yet of what was published, like
// that of an agent that was started again.
func (d *Driver) Publish(ctx context.Context) error {
	p, err := newPublisher(d.config, newModel(d.client, d.config.Stamp, d.config.Clock))
	if err != nil {
		return err
	}
	return p.publish(ctx)
}

// Look makes the agent see what was committed since it looked last, as it does twice
// a second while it publishes capacity.
func (d *Driver) Look(ctx context.Context) error {
	_, _, err := d.model.volumeGroups(ctx)
	return err
}

// Metrics are the agent's.
func (d *Driver) Metrics() *prometheus.Registry { return d.registry }

// Largest is what GetCapacity says of a class.
func Largest(g lvm.VolumeGroup, class Class) int64 { return largest(g, class, 0) }

// SetUp is one pass of making what the pools are to have.
func (d *Driver) SetUp(ctx context.Context) { d.setup.pass(ctx) }

// TellHealth writes what SetUp found to the Node.
func (d *Driver) TellHealth(ctx context.Context) error {
	if err := d.publish.resources.read(ctx); err != nil {
		return err
	}
	return d.publish.tellHealth(ctx)
}

// Takeable says whether a device is taken that a pool names, by its path or by a pattern,
// and as which PV.
func Takeable(disks Disks, path string, named bool) (uuid string, err error) {
	d, ok, err := disks.Disk(path)
	if err != nil || !ok {
		return "", errors.Join(err, errNotThere)
	}
	if err := described(d, named); err != nil {
		return "", err
	}
	f, err := inspect(disks, d)
	return f.uuid, err
}

// Once is a provisioner that makes each volume once.
func Once(p interface {
	provisioning.Provisioner
	provisioning.Qualifier
	provisioning.BlockProvisioner
}, client kubernetes.Interface,
) provisioning.Provisioner {
	return newOnce(p, client)
}
