// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// What tests of this package do to an agent that does not Run.

// InProcess is the agent's node service without a socket, its interceptor
// included.
func (d *Driver) InProcess() csi.NodeClient {
	return csi.NewNodeClient(inProcess{d})
}

// inProcess is a connection that ends in the same process.
type inProcess struct{ d *Driver }

func (c inProcess) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	handlers := map[string]grpc.UnaryHandler{
		csi.Node_NodePublishVolume_FullMethodName: func(ctx context.Context, r any) (any, error) {
			return c.d.node.NodePublishVolume(ctx, r.(*csi.NodePublishVolumeRequest))
		},
		csi.Node_NodeUnpublishVolume_FullMethodName: func(ctx context.Context, r any) (any, error) {
			return c.d.node.NodeUnpublishVolume(ctx, r.(*csi.NodeUnpublishVolumeRequest))
		},
	}
	_, err := interceptor(c.d.config.Log, c.d.metrics)(ctx, args, &grpc.UnaryServerInfo{FullMethod: method}, handlers[method])
	return err
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

// FilesystemUUID is what tests compare superblocks with.
var FilesystemUUID = filesystemUUID

// Reload looks at the file of classes now.
func (d *Driver) Reload(ctx context.Context) {
	d.config.Classes.reload(ctx, d.client, d.config.Log)
}
